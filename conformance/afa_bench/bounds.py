"""Targets: a number that is computed from one run, with a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from afa_bench.measure import Job
from afa_bench.results import Run
from afa_bench.setting import Setting
from afa_bench.units import bytes_text, digits, seconds_text


class Target(NamedTuple):
    """A number with a bound.

    Parameters
    ----------
    what : str
    relation : {"≤", "≥", "<", "runs"}
    bound : float
        Ignored by "runs", for which it is enough to have been measured.
    text : callable
        ``text(number)``: the number as text.
    jobs : tuple of Job
        What has to be measured.
    measured : callable
        ``measured(run)``: the number; raises NotMeasured if the run lacks it.
    """

    what: str
    relation: str
    bound: float
    text: Callable[[float], str]
    jobs: tuple[Job, ...]
    measured: Callable[[Run], float]

    @property
    def goal(self) -> str:
        """The relation and the bound as text."""
        runs = self.relation == "runs"
        return self.relation if runs else f"{self.relation} {self.text(self.bound)}"

    def met(self, number: float) -> bool:
        """Return whether a measured number satisfies the relation."""
        met = {"≤": number <= self.bound, "≥": number >= self.bound, "<": number < self.bound}
        return met.get(self.relation, True)


def times(number: float) -> str:
    """Return a ratio as text."""
    return f"{number:g} ×" if number == round(number, 2) else f"{digits(number)} ×"


def time_ratio(
    what: str, setting: Setting, baseline: str, bound: float, *, repeats: int = 7
) -> Target:
    """Bound the time of this library over that of a baseline from above."""
    return Target(
        what,
        "≤",
        bound,
        times,
        (Job(setting, (baseline,), repeats=repeats),),
        lambda run: run.time(setting) / run.time(setting, baseline),
    )


def speedup(what: str, setting: Setting, baseline: str, bound: float) -> Target:
    """Bound the time of a baseline over that of this library from below."""
    return time_ratio(what, setting, baseline, bound)._replace(
        relation="≥", measured=lambda run: run.time(setting, baseline) / run.time(setting)
    )


def memory_saving(what: str, setting: Setting, baseline: str, bound: float) -> Target:
    """Bound the peak extra memory of a baseline over that of this library from below."""
    return Target(
        what,
        "≥",
        bound,
        times,
        (Job(setting, (baseline,), memory=True),),
        lambda run: run.bytes(setting, baseline) / run.bytes(setting),
    )


def memory_limit(what: str, setting: Setting, bound: float) -> Target:
    """Bound the peak extra memory in bytes from above."""
    job = Job(setting, time=False, memory=True)
    return Target(what, "<", bound, bytes_text, (job,), lambda run: run.bytes(setting))


def completes(what: str, setting: Setting) -> Target:
    """Require a measurement of time, however long."""
    job = Job(setting, repeats=1)
    return Target(what, "runs", 0.0, seconds_text, (job,), lambda run: run.time(setting))


def error_limit(
    what: str, settings: Iterable[Setting], bound: float, *, gradients: bool = False
) -> Target:
    """Bound the maximum relative error of the output, or of all gradients, from above."""
    listed = tuple(settings)

    def measured(run: Run) -> float:
        return max(
            error
            for setting in listed
            for name, error in run.errors(setting).items()
            if (name != "output") == gradients
        )

    jobs = tuple(Job(setting, time=False, accuracy=True) for setting in listed)
    return Target(what, "≤", bound, digits, jobs, measured)


def growth_limit(what: str, short: Setting, long: Setting, bound: float) -> Target:
    """Bound the time per pair of tokens at one length over that at a shorter one from above."""

    def measured(run: Run) -> float:
        return (run.time(long) / long.pairs) / (run.time(short) / short.pairs)

    return Target(what, "≤", bound, times, (Job(short), Job(long)), measured)
