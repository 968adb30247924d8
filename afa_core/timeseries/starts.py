"""Where the search for the parameters of largest likelihood starts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from afa_core.timeseries.innovations import Floats
from afa_core.timeseries.likelihood import Parameters, Problem, evaluate
from afa_core.timeseries.optimise import Box
from afa_core.timeseries.spectrum import peaks

STARTS = {
    "decay": (-6.0, -3.0, -1.0),
    "process": (-6.0, -3.0, -1.0),
    "measurement": (-3.0, -1.0, 0.0),
}
"""Logarithms at which the search starts, in units of the data."""
BLOCK = 2048
"""Number of times on which starting points are compared."""


def start(problem: Problem, box: Box) -> Floats:
    """Return the best of a grid of parameters for each series, compared on a block of times."""
    count = len(problem.times)
    first = max((count - BLOCK) // 2, 0)
    block = problem.rows(slice(first, first + BLOCK))
    table = np.clip(np.zeros_like(box.lower), box.lower, box.upper)
    frequencies = table[:, 5:]
    if frequencies.size and np.any(box.lower[:, 5] < box.upper[:, 5]):
        frequencies = peaks(problem.values, problem.times, problem.observed)
    best, least = table, np.full(len(table), np.inf)
    grid = _distinct(STARTS, box)
    for logarithms, place in product(grid, range(max(frequencies.shape[-1], 1))):
        trial = table.copy()
        trial[:, :3] = logarithms
        trial[:, 5:] = frequencies[:, place : place + 1]
        trial = np.clip(trial, box.lower, box.upper)
        loss = evaluate(block, Parameters(trial)).loss
        best = np.where((loss < least)[:, None], trial, best)
        least = np.minimum(loss, least)
    return best


def _distinct(starts: Mapping[str, tuple[float, ...]], box: Box) -> list[tuple[float, ...]]:
    """Return the grid of starts, with one point along parameters that are given."""
    fixed = np.all(box.lower == box.upper, axis=0)
    axes = (each[:1] if fixed[place] else each for place, each in enumerate(starts.values()))
    return list(product(*axes))
