"""Gradients as tiles contribute them: summed in parameters, put together in tokens."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import add
from typing import Protocol

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange
from afa_core.streaming.heads import add_to_leading, with_heads
from afa_core.streaming.operands import KEYS, QUERIES, Operands

TOKENS = QUERIES + KEYS


class GradAccumulator(Protocol):
    """Collects the gradients that tiles contribute."""

    def parameter(self, name: str, x: Array) -> None:
        """Add a gradient in a parameter, of the parameter's shape."""
        ...

    def tokens(self, name: str, tokens: TokenRange, x: Array) -> None:
        """Add a gradient in a range of tokens."""
        ...


class PieceGrads:
    """Gradients in ranges of the sequence, whose borders need not agree."""

    def __init__(self, heads: int, xp: Namespace) -> None:
        self.heads, self.xp = heads, xp
        self.sums: dict[str, Array] = {}
        self.pieces: dict[str, list[tuple[TokenRange, Array]]] = {name: [] for name in TOKENS}

    def parameter(self, name: str, x: Array) -> None:
        """Add a gradient in a parameter, of all heads or of the first."""
        self.sums[name] = self._added(self.sums.get(name), x)

    def _added(self, total: Array | None, x: Array) -> Array:
        if total is None:
            return with_heads(x, self.heads, xp=self.xp)
        return add_to_leading(total, x, xp=self.xp)

    def tokens(self, name: str, tokens: TokenRange, x: Array) -> None:
        """Keep a gradient in a range of tokens until all are joined; added to that before."""
        pieces = self.pieces[name]
        if pieces and pieces[-1][0] == tokens:
            pieces[-1] = tokens, self._added(pieces[-1][1], x)
        else:
            pieces.append((tokens, self._added(None, x)))

    def joined(self, operands: Operands, *, xp: Namespace) -> Operands:
        """Return the gradients in all operands; zero where nothing was contributed."""
        grads = {name: self._join(name, getattr(operands, name), xp=xp) for name in TOKENS}
        for name in Operands._fields:
            if name not in grads:
                like = getattr(operands, name)
                grads[name] = self.sums[name] if name in self.sums else xp.zeros_like(like)
        return Operands(**grads)

    def _join(self, name: str, like: Array, *, xp: Namespace) -> Array:
        """Concatenate the ranges of one operand, added where they overlap."""
        pieces = self.pieces[name]
        ends = {end for tokens, _ in pieces for end in (tokens.start, _stop(tokens))}
        parts = []
        for start, stop in pairwise(sorted({0, like.shape[1]} | ends)):
            overlapping = [
                x[:, start - tokens.start : stop - tokens.start, ...]
                for tokens, x in pieces
                if tokens.start <= start and stop <= _stop(tokens)
            ]
            parts.append(reduce(add, overlapping or [xp.zeros_like(like[:, start:stop, ...])]))
        return xp.concat(parts, axis=1) if parts else xp.zeros_like(like)


def _stop(tokens: TokenRange) -> int:
    return tokens.start + len(tokens)
