"""Time: candidates called alternately on the same inputs, and the ratio of their medians."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from statistics import median, quantiles
from timeit import Timer
from typing import NamedTuple

MIN_SAMPLE = 0.02  # seconds; a sample repeats faster calls
BUDGET = 60.0  # seconds per candidate; slower ones are sampled less often


class Comparison(NamedTuple):
    """The time of one candidate relative to that of another.

    Parameters
    ----------
    ratio : float
        Of the medians.
    low, middle, high : float
        Quartiles of the ratios of single rounds.
    """

    ratio: float
    low: float
    middle: float
    high: float


def alternate(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    budget: float = BUDGET,
    sample: Callable[[Callable[[], object], int], float] | None = None,
) -> dict[str, list[float]]:
    """Return seconds per call, sampled in rounds in which the candidates alternate.

    Each call must have been made before, so that it is compiled; it is made once more to
    estimate its time, before the first round. One that would exceed the budget takes part in the
    first rounds only, at least in one. ``sample(call, count)`` returns the mean seconds of so many
    calls, by default of calls that end with their results.
    """
    sample = sample or _sample
    estimate = {name: sample(call, 1) for name, call in calls.items()}
    loops = {name: max(1, ceil(MIN_SAMPLE / max(time, 1e-9))) for name, time in estimate.items()}
    rounds = {
        name: min(repeats, max(1, int(budget / (estimate[name] * count))))
        for name, count in loops.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats):
        for name, call in calls.items():
            if number < rounds[name]:
                seconds[name].append(sample(call, loops[name]))
    return seconds


def compare(candidate: Sequence[float], baseline: Sequence[float]) -> Comparison:
    """Return the ratio of two medians, and the quartiles of the ratios of single rounds."""
    ratios = [a / b for a, b in zip(candidate, baseline, strict=False)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive") if ratios[1:] else 3 * ratios
    return Comparison(median(candidate) / median(baseline), low, middle, high)


def _sample(call: Callable[[], object], loops: int) -> float:
    """Return the mean seconds of some calls; `timeit` turns garbage collection off."""
    return Timer(call, setup=gc.collect).timeit(loops) / loops
