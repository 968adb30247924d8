"""The influence of correlated keys in tiles (spec §14): log a_ij = Σ query_level_i − key_level_j.

Levels are sums over the whole sequence and their differences are not, so terms are subtracted one
by one in the widest dtype. With a level c between those of keys and queries,

    a_ij = e^{query_i − c} e^{c − key_j},

a number of the query times one of the key, neither of which overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import log
from operator import add
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, DType, Namespace

LOG_RANGE_SHARE = 0.48
"""Share of the logarithm of the largest number that the levels of a tile may reach either way."""
ABOVE_ANY = 2.0
"""An influence that only hidden pairs exceed, for some beyond single precision: it is at most 1."""


def direction_of(level: Array, order: int, directions: int) -> Array:
    """Return the terms (g, tokens, t, s) of the direction that a tile's order tells."""
    terms = level.shape[2] // directions
    later = order < 0 and directions > 1
    return level[:, :, terms:, :] if later else level[:, :, :terms, :]


def reference_level(key: Array, *, xp: Namespace) -> Array:
    """Return c of a key block, (g, 1, s): the least first term, that of the greatest influence."""
    least = xp.min(key[:, :, 0, :], axis=1, keepdims=True)
    return xp.where(xp.isfinite(least), least, 0.0)  # no key has influence


def above(level: Array, reference: Array) -> Array:
    """Return level − c, (g, tokens, s)."""
    terms = (level[:, :, term, :] for term in range(1, level.shape[2]))
    return reduce(add, terms, level[:, :, 0, :] - reference)


def pair_levels(query: Array, key: Array, *, xp: Namespace) -> Array:
    """Return log a_ij of every pair, (g, s, n, m)."""
    query, key = (xp.permute_dims(x, (2, 0, 3, 1)) for x in (query, key))  # (t, g, s, tokens)
    terms = range(query.shape[0])
    return reduce(add, (query[t, ..., :, None] - key[t, ..., None, :] for t in terms))


def factored_pairs(
    query: Array,
    key: Array,
    dtype: DType,
    read: Callable[[Array], Any],
    outer: Callable[[Array, Array], Array],
    *,
    xp: Namespace,
) -> Array | None:
    """Return a_ij of every pair, (g, s, n, m), by a number of either side; None if one overflows.

    An exponential of every pair would take longer than a product. The product is formed in a dtype
    if that has the range, of hidden pairs too, else in that of the levels. `outer` multiplies
    arrays that broadcast against each other.
    """
    middle = 0.5 * (reference_level(key, xp=xp) - reference_level(-query, xp=xp))
    query, key = above(query, middle), above(key, middle)
    known = xp.where(xp.isfinite(key), key, 0.0)
    greatest = read(xp.maximum(xp.max(abs(known)), xp.max(abs(query))))
    if not greatest < LOG_RANGE_SHARE * log(xp.finfo(query.dtype).max):
        return None
    query, key = (xp.matrix_transpose(xp.exp(x)) for x in (query, -key))
    if greatest < LOG_RANGE_SHARE * log(xp.finfo(dtype).max):
        query, key = (xp.astype(x, dtype, copy=False) for x in (query, key))
    found = outer(query[..., :, None], key[..., None, :])
    if found.dtype == dtype:
        return found
    return xp.where(found < ABOVE_ANY, found, 0.0)


def level_grad(grads: tuple[Array, ...], like: Array, *, xp: Namespace) -> Array:
    """Return the gradient in levels, (g, tokens, t, s), from one per direction, (g, tokens, s).

    The terms of a level share its gradient.
    """
    terms = like.shape[2] // len(grads)
    return xp.stack([xp.astype(x, like.dtype) for x in grads for _ in range(terms)], axis=2)


class BlockInfluence(NamedTuple):
    """The influence of a block of correlated keys at its level c."""

    of_keys: Array  # e^{c − key_j}, or its logarithm, (g, m, s)
    level: Array  # c, (g, 1, s)


class PairInfluence(NamedTuple):
    """The influence a_ij in a tile, or its logarithm: of keys and of queries, or of pairs."""

    of_keys: Array  # (g, 1, m) or (g, n, m), or with an axis s before these
    of_queries: Array | None  # (g, n, 1) where the tile has a reference time
    past: Array | None = None  # which keys are not later than a query, (g, n, m)

    def in_row(self, x: Array) -> Array:
        """Multiply what belongs to a row by the influence of its query."""
        return x if self.of_queries is None else x * self.of_queries

    def terms(self) -> tuple[Array, ...]:
        """Return the terms of log a."""
        return (self.of_keys,) if self.of_queries is None else (self.of_keys, self.of_queries)
