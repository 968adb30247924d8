"""Which queries attend to which keys (spec §8.4), tile by tile or as a whole."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple, Protocol

from afa_core._array.arrays import Array, Device, Namespace, with_rank


class TokenRange(Protocol):
    """A range of tokens: a `range`, or one whose start is traced."""

    @property
    def start(self) -> int:
        """The place of the first token."""
        ...

    def __len__(self) -> int: ...
    def __hash__(self) -> int: ...


MAX_ROWS = 1024
"""Queries whose mask is formed at once to find out which tokens are visible."""


class Visibility(NamedTuple):
    """The causal order and the mask of a problem with n queries and m keys."""

    queries: int
    keys: int
    causal: bool
    mask: Array | None  # (..., n or 1, m or 1)

    def whole(self, *, device: Device, xp: Namespace) -> Array | None:
        """Return the mask of all pairs, (..., n, m), None if every query attends to every key.

        The numbers of queries and keys may be symbols, as where JAX exports for any length.
        """
        visible = self.mask
        if visible is not None:
            visible = xp.broadcast_to(visible, (*visible.shape[:-2], self.queries, self.keys))
        bounds = (0, self.queries), (0, self.keys)
        return self._in_order(visible, *bounds, device=device, xp=xp)

    def tile(
        self, rows: TokenRange, columns: TokenRange, *, device: Device, xp: Namespace
    ) -> Array | None:
        """Return the mask of some pairs, (..., rows, columns).

        None if there is no mask and each of these queries attends to all of these keys.
        """
        visible = None if self.mask is None else self._cut(rows, columns, xp=xp)
        bounds = _bounds(rows), _bounds(columns)
        return self._in_order(visible, *bounds, device=device, xp=xp)

    def visible_tokens(
        self, leading: int, *, device: Device, xp: Namespace
    ) -> tuple[Array | None, Array | None]:
        """Return which queries, (..., n), and which keys, (..., m), are in a visible pair.

        They have so many leading axes, like the mask. None where all are. Without a mask only
        queries before the first key are in none, and keys without a query.
        """
        if self.mask is None:
            sizes = self.queries, self.keys
            if isinstance(self.queries, int) and not self.queries:
                hidden = xp.zeros((self.keys,), dtype=xp.bool, device=device)
                return None, with_rank(hidden, leading + 1)
            if not (self.causal and all(isinstance(x, int) for x in sizes) and sizes[0] > sizes[1]):
                return None, None
            place = xp.arange(self.queries, dtype=xp.int32, device=device)
            return with_rank(place >= self.queries - self.keys, leading + 1), None
        if not isinstance(self.queries, int):  # a symbol, over which no loop can run
            whole = self.whole(device=device, xp=xp)
            return xp.any(whole, axis=-1), xp.any(whole, axis=-2)
        of_queries, of_keys = [], []
        for start in range(0, max(self.queries, 1), MAX_ROWS):
            rows = range(start, min(start + MAX_ROWS, self.queries))
            visible = self.tile(rows, range(self.keys), device=device, xp=xp)
            of_queries.append(xp.any(visible, axis=-1))
            of_keys.append(xp.any(visible, axis=-2))
        return xp.concat(of_queries, axis=-1), reduce(xp.logical_or, of_keys)

    def _in_order(
        self,
        visible: Array | None,
        rows: tuple[int, int],
        columns: tuple[int, int],
        *,
        device: Device,
        xp: Namespace,
    ) -> Array | None:
        # the last key visible to the first row, and the first one hidden from the last row
        first, end = (row + self.keys - self.queries for row in rows)
        if not self.causal or columns[1] - 1 <= first:
            return visible
        last = xp.arange(first, end, dtype=xp.int32, device=device)
        place = xp.arange(*columns, dtype=xp.int32, device=device)
        causal: Array = place[None, :] <= last[:, None]
        return (
            causal if visible is None else xp.logical_and(visible, with_rank(causal, visible.ndim))
        )

    def _cut(self, rows: TokenRange, columns: TokenRange, *, xp: Namespace) -> Array:
        assert self.mask is not None
        height, width = self.mask.shape[-2:]
        cut = self.mask[
            ...,
            slice(*_bounds(rows)) if height == self.queries else slice(None),
            slice(*_bounds(columns)) if width == self.keys else slice(None),
        ]
        return xp.broadcast_to(cut, (*cut.shape[:-2], len(rows), len(columns)))


def _bounds(tokens: TokenRange) -> tuple[int, int]:
    return tokens.start, tokens.start + len(tokens)
