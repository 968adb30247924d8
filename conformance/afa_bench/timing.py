"""Time: the same inputs, one after the other in turn, and the ratio of the medians."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

SHORTEST = 0.02  # seconds; quicker calls are repeated within one sample
BUDGET = 60.0  # seconds; slower contenders are sampled less often


class Comparison(NamedTuple):
    """Our time as a multiple of a rival's.

    Parameters
    ----------
    ratio : float
        Of the medians.
    low, middle, high : float
        Quartiles of the ratios of the rounds in which both took part.
    """

    ratio: float
    low: float
    middle: float
    high: float


def alternate(
    calls: Mapping[str, Callable[[], object]], repeats: int, budget: float = BUDGET
) -> dict[str, list[float]]:
    """Return the seconds of a call, sampled in rounds in which each is called in turn.

    Every call, which should have been made before, is made once more to see how long it takes.
    One that would exceed the budget takes part in the first rounds only, at least in one.
    """
    once = {name: _sample(call, 1) for name, call in calls.items()}
    counts = {name: max(1, ceil(SHORTEST / max(took, 1e-9))) for name, took in once.items()}
    rounds = {
        name: min(repeats, max(1, int(budget / (once[name] * count))))
        for name, count in counts.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name, call in calls.items():
            if turn < rounds[name]:
                seconds[name].append(_sample(call, counts[name]))
    return seconds


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Return the ratio of the medians, and how the ratios of single rounds spread."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=False)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive") if ratios[1:] else 3 * ratios
    return Comparison(median(ours) / median(theirs), low, middle, high)


def _sample(call: Callable[[], object], count: int) -> float:
    """Return the mean time of some calls, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        start = perf_counter()
        for _ in range(count):
            call()
        return (perf_counter() - start) / count
    finally:
        gc.enable()
