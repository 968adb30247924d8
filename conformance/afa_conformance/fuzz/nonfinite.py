"""Non-finite numbers where some or all rows of a problem ignore them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.problems import DrawnProblem, completed, visibility
from afa_core import RadialTangentialSDE

NUMBERS = (np.nan, np.inf, -np.inf)
TOKENS = ("query", "key", "value", "key_times")


def with_nonfinite(
    problem: DrawnProblem, rng: np.random.Generator, *, hidden: bool
) -> tuple[DrawnProblem, tuple[str, ...]]:
    """Return the problem with non-finite tokens or times of keys, and what they are.

    Times are those of keys that are hidden from all queries; tokens, unless `hidden`, may also
    matter to some rows. Integer times become the least and the greatest of 32 bits.
    """
    if 0 in problem.leading:
        return problem, ()  # parameters would have a gradient of no row
    if isinstance(problem.sde, RadialTangentialSDE):
        problem = completed(problem)  # the anchor of a row may be its value, hidden or not
    changes: dict[str, Any] = {}
    texts = []
    for name in TOKENS:
        if getattr(problem, name) is None or rng.random() < 0.5:
            continue
        x = np.array(getattr(problem, name))
        of_tokens = x.shape if name == "key_times" else x.shape[:-1]
        chosen = rng.random(of_tokens) < 0.5
        if hidden or name == "key_times" or rng.random() < 0.5:
            seen = np.any(_visible(problem), axis=-1 if name == "query" else -2)
            chosen &= ~_anywhere(seen, of_tokens)
        if not np.any(chosen):
            continue
        number = NUMBERS[rng.integers(len(NUMBERS))]
        least, greatest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        integer = least if number < 0 else greatest
        x[chosen] = integer if x.dtype.kind == "i" else number
        changes[name] = x
        texts.append(f"{number} in {name}")
    return replace(problem, **changes), tuple(texts)


def unaffected(problem: DrawnProblem, given: DrawnProblem) -> NDArray[np.bool_]:
    """Return which rows neither are nor see a token that has been changed, (..., n)."""
    visible = _visible(problem)
    rows = np.zeros(visible.shape[:-1], dtype=bool)
    keys = np.zeros((*rows.shape[:-1], visible.shape[-1]), dtype=bool)
    for name in ("key", "value"):
        keys = keys | _changed(problem, given, name)
    for name in ("query", "query_times"):
        rows = rows | _changed(problem, given, name)
    reached = np.any(visible & (rows[..., :, None] | keys[..., None, :]), axis=-1)
    return np.asarray(~reached)


def _changed(problem: DrawnProblem, given: DrawnProblem, name: str) -> NDArray[np.bool_]:
    """Return which tokens have been changed, (..., number of tokens)."""
    before, after = getattr(problem, name), getattr(given, name)
    if before is None:
        return np.zeros(1, dtype=bool)
    differ = np.asarray(before != after)
    return differ if name == "query_times" else np.any(differ, axis=-1)


def _visible(problem: DrawnProblem) -> NDArray[np.bool_]:
    shape = (*problem.leading, problem.query.shape[-2], problem.key.shape[-2])
    return np.broadcast_to(visibility(problem), shape)


def _anywhere(seen: NDArray[np.bool_], of_tokens: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return what holds at any leading index that shares a token, of a shape (..., m)."""
    seen = np.any(seen, axis=tuple(range(seen.ndim - len(of_tokens))))
    shared = tuple(i for i, length in enumerate(of_tokens[:-1]) if length == 1)
    return np.asarray(np.any(seen, axis=shared, keepdims=True))
