"""A run of the suite, asked for what it measured."""

from __future__ import annotations

from math import inf
from statistics import median
from typing import Any, NamedTuple

from afa_bench.cases import AFA
from afa_bench.setting import Setting, from_json
from afa_bench.timing import compare
from afa_bench.units import bytes_text, digits, seconds_text


class Missing(LookupError):
    """Something was not measured; the message is the reason."""


class Run(NamedTuple):
    """A report under its name."""

    name: str
    report: dict[str, Any]

    @property
    def records(self) -> list[dict[str, Any]]:
        """Return the record of every setting."""
        found: list[dict[str, Any]] = self.report["records"]
        return found

    def record(self, setting: Setting) -> dict[str, Any]:
        """Return the record of a setting.

        Raises
        ------
        Missing
            If the run has none.
        """
        for record in self.records:
            if from_json(record["setting"]) == setting:
                return record
        msg = "not part of a quick run" if self.report["quick"] else "not part of this run"
        raise Missing(msg)

    def seconds(self, setting: Setting, name: str = AFA) -> list[float]:
        """Return the times of a contender; raise Missing with the reason if there are none."""
        found: list[float] = self._value(setting, name, "seconds")
        return found

    def time(self, setting: Setting, name: str = AFA) -> float:
        """Return the median time of a contender."""
        return median(self.seconds(setting, name))

    def bytes(self, setting: Setting, name: str = AFA) -> float:
        """Return the peak extra memory of a contender."""
        return float(self._value(setting, name, "bytes"))

    def errors(self, setting: Setting) -> dict[str, float]:
        """Return the relative errors by the name of the result, infinite where it is not finite."""
        record = self.record(setting)
        if "errors" not in record:
            ours = record["contenders"][AFA].get("reason", "accuracy was not asked for")
            raise Missing(record.get("reason", ours))
        return {name: inf if x is None else x for name, x in record["errors"].items()}

    def _value(self, setting: Setting, name: str, field: str) -> Any:
        contender = self.record(setting)["contenders"].get(name, {})
        if field not in contender:
            raise Missing(contender.get("reason", f"{name} was not asked for"))
        return contender[field]


class Row(NamedTuple):
    """What was measured of a contender as text, empty where it was not; `reason` says why."""

    name: str
    label: str
    reason: str = ""
    time: str = ""
    ratio: str = ""
    quartiles: tuple[str, ...] = ()
    extra: str = ""


def rows_of(record: dict[str, Any]) -> list[Row]:
    """Return a row for each contender: median time, our time over its own, peak extra memory."""
    contenders, chosen = record["contenders"], record.get("chosen")
    ours = contenders[AFA].get("seconds")

    def row(name: str, found: dict[str, Any]) -> Row:
        label = f"{name} ({chosen})" if name == AFA and chosen else name
        if "reason" in found:
            return Row(name, label, reason=found["reason"])
        seconds = found.get("seconds")
        time = seconds_text(median(seconds)) if seconds else ""
        extra = bytes_text(found["bytes"]) if "bytes" in found else ""
        measured = Row(name, label, time=time, extra=extra)
        if not (ours and seconds) or name == AFA:
            return measured
        ratio, low, _, high = map(digits, compare(ours, seconds))
        return measured._replace(ratio=ratio, quartiles=(low, high))

    return [row(name, found) for name, found in contenders.items()]
