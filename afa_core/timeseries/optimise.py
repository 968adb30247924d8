"""Minimisation of many independent losses at once, by damped scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from afa_core.timeseries.innovations import Floats
from afa_core.timeseries.likelihood import Evaluation

MAX_STEPS = 100
MAX_CHANGE = 2.0
"""Of a parameter in one step, which is shortened to it."""
FLAT = 1e-11
"""A loss that a step is expected to lower by no more has converged."""
FIRST_DAMPING, LESS, MORE, MAX_DAMPING = 1e-3, 0.1, 10.0, 1e9


class Box(NamedTuple):
    """Bounds of parameters, (s, k) or (k,)."""

    lower: Floats
    upper: Floats


def minimise(
    evaluate: Callable[[Floats], Evaluation],
    start: Floats,
    box: Box,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[Floats, Evaluation]:
    """Return the minimisers of s losses of k parameters each, (s, k), and what holds there.

    A step solves (I + damping · diag I) step = −grad for the expected information I. The damping
    of a loss decreases after a step that lowers it, and increases otherwise.
    """
    x, found = start, evaluate(start)
    damping = np.full(len(start), FIRST_DAMPING)
    for _ in progress(range(MAX_STEPS)):
        step = _step(x, found, damping, box)
        step = step / np.maximum(np.max(np.abs(step), axis=-1, keepdims=True) / MAX_CHANGE, 1.0)
        trial = np.clip(x + step, box.lower, box.upper)
        expected = -np.sum(found.grad * (trial - x), axis=-1)  # negative where bounds bend a step
        if not np.any((np.abs(expected) > FLAT) & (damping < MAX_DAMPING)):
            break
        tried = evaluate(trial)
        lower = tried.loss <= found.loss
        x = np.where(lower[:, None], trial, x)
        found = Evaluation(
            *(
                np.where(lower[(slice(None), *[None] * (new.ndim - 1))], new, old)
                for new, old in zip(tried, found, strict=True)
            )
        )
        damping = np.where(lower, LESS * damping, MORE * damping)
    return x, found


def _step(x: Floats, found: Evaluation, damping: Floats, box: Box) -> Floats:
    """Return the damped step of every loss, zero where a bound is in the way."""
    outwards = ((x <= box.lower) & (found.grad > 0.0)) | ((x >= box.upper) & (found.grad < 0.0))
    free = ~outwards & (box.lower < box.upper)
    both = free[:, :, None] & free[:, None, :]
    diagonal = np.einsum("skk->sk", found.information)
    ridge = damping[:, None] * diagonal + 1e-10 * (1.0 + np.max(diagonal, axis=-1, keepdims=True))
    matrix = np.where(both, found.information, 0.0)
    matrix = matrix + np.where(free, ridge, 1.0)[:, :, None] * np.eye(x.shape[-1])
    grad = np.where(free, found.grad, 0.0)
    step: Floats = -np.linalg.solve(matrix, grad[..., None])[..., 0]
    return step
