"""Access to the measurements of a run, and their text."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from statistics import median
from typing import NamedTuple

from afa_bench.cases import AFA
from afa_bench.records import Measurement, Record, Report
from afa_bench.setting import Setting, from_json
from afa_bench.timing import compare
from afa_bench.units import bytes_text, digits, seconds_text


class NotMeasured(LookupError):
    """A value that a run does not contain; the message is the reason."""


BUSY = "-busy"
"""Ending of the name of a report that was measured beside busy processes."""


def read_report(path: Path) -> Report:
    """Read a report of the suite."""
    report: Report = json.loads(path.read_text("utf-8"))
    return report


class Run(NamedTuple):
    """A report, its name, and one that was measured beside busy processes, if any.

    All methods raise NotMeasured for a value that the report lacks.
    """

    name: str
    report: Report
    busy: Report | None = None

    def record(self, setting: Setting) -> Record:
        """Return the record of a setting."""
        for record in self.report["records"]:
            if from_json(record["setting"]) == setting:
                return record
        raise NotMeasured(
            "not part of a quick run" if self.report["quick"] else "not part of this run"
        )

    def seconds(self, setting: Setting, name: str = AFA) -> list[float]:
        """Return the seconds of a candidate in each round."""
        found = self._measurement(setting, name)
        if "seconds" not in found:
            raise NotMeasured(found.get("reason", f"the time of {name} was not requested"))
        return found["seconds"]

    def time(self, setting: Setting, name: str = AFA) -> float:
        """Return the median time of a candidate in seconds."""
        return median(self.seconds(setting, name))

    def bytes(self, setting: Setting, name: str = AFA) -> float:
        """Return the peak extra memory of a candidate."""
        found = self._measurement(setting, name)
        if "bytes" not in found:
            raise NotMeasured(found.get("reason", f"the memory of {name} was not requested"))
        return float(found["bytes"])

    def errors(self, setting: Setting) -> dict[str, float]:
        """Return the relative errors by the name of the result, infinite where it is not finite."""
        record = self.record(setting)
        if "errors" not in record:
            reason = record["candidates"][AFA].get("reason", "accuracy was not requested")
            raise NotMeasured(record.get("reason", reason))
        return {name: inf if error is None else error for name, error in record["errors"].items()}

    def _measurement(self, setting: Setting, name: str) -> Measurement:
        return self.record(setting)["candidates"].get(name, {})


def medians(record: Record) -> dict[str, float]:
    """Return the median time of each candidate that was measured."""
    found = record["candidates"].items()
    return {name: median(each["seconds"]) for name, each in found if "seconds" in each}


class Row(NamedTuple):
    """The measurements of a candidate as text, empty where missing; `reason` says why."""

    name: str
    label: str
    reason: str = ""
    time: str = ""
    ratio: str = ""
    quartiles: tuple[str, ...] = ()
    extra: str = ""


def rows_of(record: Record) -> list[Row]:
    """Return a row per candidate: median time, ratio of AFA's time to it, peak extra memory."""
    candidates, chosen = record["candidates"], record.get("chosen")
    reference = candidates[AFA].get("seconds")

    def row(name: str, found: Measurement) -> Row:
        label = f"{name} ({chosen})" if name == AFA and chosen else name
        if "reason" in found:
            return Row(name, label, reason=found["reason"])
        seconds = found.get("seconds")
        time = seconds_text(median(seconds)) if seconds else ""
        extra = bytes_text(found["bytes"]) if "bytes" in found else ""
        measured = Row(name, label, time=time, extra=extra)
        if not (reference and seconds) or name == AFA:
            return measured
        ratio, low, _, high = map(digits, compare(reference, seconds))
        return measured._replace(ratio=ratio, quartiles=(low, high))

    return [row(name, found) for name, found in candidates.items()]
