"""Blocks of rows, each with the keys that it does not forget.

All keys up to b have the influence e^{C_i − C_b} on row i together, C_j = Σ_{l≤j} log(1 − K_l). A
block takes as many keys beside it as make that negligible, at any place of the series, and its
filter starts anew there. Blocks are an axis of attention, and are computed a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of

NEGLIGIBLE = log(1e-12)
"""Logarithm of the influence of keys that are left out."""
MIN_ROWS, MAX_ROWS = 64, 1024
"""Of a block."""
MAX_PAIRS = 2**15
"""Of blocks that are computed at once, for arrays of pairs to stay in the cache."""


class Tokens(NamedTuple):
    """What was measured of each series, in order, and hidden tokens up to a common number m."""

    values: Array  # (s, m)
    times: Array  # (s, m), not decreasing
    measured: Array  # (s, m)
    latest: Array  # place of the latest token at each row, −1 before the first, (s, n)


def tokens_of(values: Array, times: Array, observed: Array, *, xp: Namespace) -> Tokens:
    """Return the tokens of s series at n common times, one at least."""
    seen = xp.cumulative_sum(xp.astype(observed, xp.int64), axis=-1)
    count = max(_integer(xp.max(seen[:, -1])), 1)
    hidden = xp.astype(xp.logical_not(observed), xp.int8)
    order = xp.argsort(hidden, axis=-1, stable=True)[:, :count]
    place = xp.arange(count, dtype=xp.int64, device=device_of(values))
    measured = place < seen[:, -1:]
    moments = xp.take_along_axis(xp.broadcast_to(times, observed.shape), order, axis=-1)
    return Tokens(
        xp.where(
            measured, xp.take_along_axis(values, order, axis=-1), xp.zeros_like(values[:, :1])
        ),
        xp.where(measured, moments, times[-1]),
        measured,
        seen - 1,
    )


class Blocks(NamedTuple):
    """How rows are cut: how many in a block, and how many keys before and after are theirs."""

    rows: int
    before: int
    after: int

    @property
    def keys(self) -> int:
        """Number of keys of a block."""
        return self.before + self.rows + self.after

    def first(self, tokens: Tokens, group: slice, *, causal: bool, xp: Namespace) -> Array:
        """Return the places of the first rows of blocks among the tokens, (s, b).

        Rows are the tokens if causal; otherwise it is the latest token that counts.
        """
        rows = range(group.start * self.rows, group.stop * self.rows, self.rows)
        start = xp.asarray(list(rows), dtype=xp.int64, device=device_of(tokens.latest))
        if not causal:
            return xp.take(tokens.latest, start, axis=-1)
        return xp.broadcast_to(start, (tokens.values.shape[0], start.shape[0]))

    def groups(self, count: int, series: int) -> Iterator[slice]:
        """Yield slices of blocks to compute at once, of so many rows in s series."""
        number = -(-count // self.rows)
        size = max(MAX_PAIRS // (self.rows * self.keys * series), 1)
        for start in range(0, number, size):
            yield slice(start, min(start + size, number))


def blocks_for(
    predicted_variance: Array, measured: Array, window: int, *, causal: bool, xp: Namespace
) -> Blocks:
    """Return blocks for tokens of which the filter has the variances P⁻/η², (s, m).

    They have no more than `window` keys on a side.
    """
    counted = xp.logical_and(measured, xp.isfinite(predicted_variance))
    loss = xp.log1p(xp.where(counted, predicted_variance, xp.zeros_like(predicted_variance)))
    lost = xp.cumulative_sum(xp.where(measured, loss, -NEGLIGIBLE), axis=-1)  # −C
    count, beside = lost.shape[-1], MIN_ROWS
    while beside < min(count, window) and not bool(
        xp.all(lost[:, beside:] - lost[:, :-beside] >= -NEGLIGIBLE)
    ):
        beside *= 2
    beside = min(beside, window)
    rows = max(MIN_ROWS, min(beside, MAX_ROWS, count))
    return Blocks(rows, beside, 0 if causal else beside)


def cut_rows(x: Array, blocks: Blocks, group: slice, *, xp: Namespace) -> Array:
    """Return the rows of blocks, (..., b, r) of (..., n); the last row repeats beyond the end."""
    start = xp.arange(group.start, group.stop, dtype=xp.int64, device=device_of(x)) * blocks.rows
    place = start[:, None] + xp.arange(blocks.rows, dtype=xp.int64, device=device_of(x))
    place = xp.clip(place, 0, x.shape[-1] - 1)
    return xp.reshape(xp.take(x, xp.reshape(place, (-1,)), axis=-1), (*x.shape[:-1], *place.shape))


def cut_keys(x: Array, first: Array, blocks: Blocks, *, xp: Namespace) -> tuple[Array, Array]:
    """Return the tokens of blocks, (s, b, k) of (s, m), and which of them there are.

    The places of their first rows among the tokens are (s, b).
    """
    place = first[..., None] - blocks.before
    place = place + xp.arange(blocks.keys, dtype=xp.int64, device=device_of(x))
    inside = xp.logical_and(place >= 0, place < x.shape[-1])
    flat = xp.reshape(xp.clip(place, 0, x.shape[-1] - 1), (x.shape[0], -1))
    return xp.reshape(xp.take_along_axis(x, flat, axis=-1), place.shape), inside


def _integer(x: Any) -> int:
    return int(x)
