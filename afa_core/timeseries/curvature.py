"""Standard errors from the curvature of losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from afa_core.timeseries.innovations import Bools, Floats
from afa_core.timeseries.likelihood import Evaluation


def standard_errors(evaluate: Callable[[Floats], Evaluation], x: Floats, free: Bools) -> Floats:
    """Return the standard errors of the free parameters at minima of s losses, (s, k).

    They are those of the inverse Hessian, the central difference of the gradient. Errors are NaN
    where a parameter is not free, and of a loss that has no minimum there.
    """
    count = x.shape[-1]
    information = np.einsum("skk->sk", evaluate(x).information)
    steps = np.clip(1e-2 / np.sqrt(np.maximum(information, 1e-300)), 1e-6, 1e-2)
    columns = []
    for place in range(count):
        change = np.zeros_like(x)
        change[:, place] = steps[:, place]
        difference = evaluate(x + change).grad - evaluate(x - change).grad
        columns.append(difference / (2.0 * steps[:, place : place + 1]))
    hessian = np.stack(columns, axis=-1)
    both = free[:, :, None] & free[:, None, :]
    hessian = np.where(both, 0.5 * (hessian + np.swapaxes(hessian, -1, -2)), np.eye(count))
    values, vectors = np.linalg.eigh(hessian)
    determined = np.all(values > 0.0, axis=-1)
    inverse = 1.0 / np.where(determined[:, None], values, 1.0)
    variance = np.einsum("skl,sl,skl->sk", vectors, inverse, vectors)
    errors: Floats = np.where(free & determined[:, None], np.sqrt(variance), np.nan)
    return errors
