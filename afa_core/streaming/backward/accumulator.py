"""Derivatives as they come, tile by tile: summed in parameters, put together in tokens."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any, Protocol

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.operands import Operands

TOKENS = ("query", "key", "value", "query_times", "key_times")


class Gather(Protocol):
    """What takes derivatives."""

    def parameter(self, name: str, x: Array) -> None:
        """Add the derivative in a parameter, of its shape."""

    def tokens(self, name: str, tokens: Any, x: Array) -> None:
        """Add the derivative in some tokens."""


class Gathered:
    """Derivatives in pieces of the sequence, whose borders need not agree."""

    def __init__(self) -> None:
        self.sums: dict[str, Array] = {}
        self.pieces: dict[str, list[tuple[range, Array]]] = {name: [] for name in TOKENS}

    def parameter(self, name: str, x: Array) -> None:
        """Add the derivative in a parameter."""
        self.sums[name] = self.sums[name] + x if name in self.sums else x

    def tokens(self, name: str, tokens: range, x: Array) -> None:
        """Take the derivative in some tokens."""
        self.pieces[name].append((tokens, x))

    def whole(self, o: Operands, *, xp: Namespace) -> Operands:
        """Return all derivatives; zero where nothing came."""
        found = {name: self._joined(name, getattr(o, name), xp=xp) for name in TOKENS}
        for name in Operands._fields:
            if name not in found:
                like = getattr(o, name)
                found[name] = self.sums[name] if name in self.sums else xp.zeros_like(like)
        return Operands(**found)

    def _joined(self, name: str, like: Array, *, xp: Namespace) -> Array:
        """Put pieces together, added where they overlap."""
        found = self.pieces[name]
        ends = {b for own, _ in found for b in (own.start, own.stop)}
        borders = sorted({0, like.shape[1]} | ends)
        parts = []
        for start, stop in pairwise(borders):
            over = [
                x[:, start - own.start : stop - own.start, ...]
                for own, x in found
                if own.start <= start and stop <= own.stop
            ]
            parts.append(reduce(add, over or [xp.zeros_like(like[:, start:stop, ...])]))
        return xp.concat(parts, axis=1) if parts else xp.zeros_like(like)
