"""Keys within a window one by one, those before it by their first order in E (spec §9).

Queries are cut into blocks of one size, and a block sees the keys of the window before it and its
own pair by pair: blocks stand side by side, as heads do. All earlier keys are far. Of the key j at
the query i remain, with E = e f through a frame t_c between the two,

    x = x∞ + δ_j,   δ_j = e² f²(η² − α + c‖k‖²) − 2c e q̃ · f k̃,   x∞ = γ² + α + c‖q‖²,

α = σ²/2μ, and of its weight its value and its slope at x∞, which ask for nothing but sums over the
far keys: of ones, f k̃, f ṽ, f² and f²‖k‖². From block to block these are an affine recurrence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import Visibility
from afa_core._array.scan import affine, prefixes
from afa_core.model.covariance import decay_factor
from afa_core.model.weighting import Uniform
from afa_core.streaming.operands import KEYS, QUERIES, Fixed, Operands, scale_of
from afa_core.streaming.operations import standard
from afa_core.streaming.pair_weights import log_robust, robust_slope

Run = Callable[[Operands, Fixed], tuple[Array, Array]]
"""Exact attention: the mean, turned back to time zero, and the precision."""

LEAST = 64
"""Queries in a block below which its own sums outweigh the pairs that smaller blocks save."""


class Blocks(NamedTuple):
    """How a sequence is cut: `number` blocks of `size` queries, the last of all.

    Each sees the `span` keys before its own pair by pair; `first` keys are far from every block.
    """

    size: int
    number: int
    span: int
    first: int

    def of(self, x: Array, start: int, *, xp: Namespace) -> Array:
        """Return tokens from `start` on in blocks, (g, number, size, width)."""
        cut = x[:, start : start + self.number * self.size, :]
        return xp.reshape(cut, (x.shape[0], self.number, self.size, x.shape[-1]))

    def asking(self, x: Array, *, xp: Namespace) -> Array:
        """Return the queries of the blocks."""
        return self.of(x, x.shape[1] - self.number * self.size, xp=xp)


def blocks_of(visibility: Visibility, window: int, tile: int | None) -> Blocks:
    """Cut blocks so that every query sees at least the `window` latest keys pair by pair."""
    size = max(LEAST, (window + 1) // 2) if tile is None else tile
    span = -(-window // size) * size
    queries, keys = visibility.queries, visibility.keys
    number = max(min((keys - span - 1) // size, queries // size), 0)
    return Blocks(size, number, span, keys - span - number * size)


class Far(NamedTuple):
    """Sums over the keys that are far from a block, in the frame of the last, (g, blocks, …)."""

    key: Array  # Σ f k̃, 2d
    value: Array  # Σ f ṽ, 2d_v
    square: Array  # Σ f², 1
    length: Array  # Σ f²‖k‖², 1
    ones: Array  # the number of far keys, 1


def windowed(
    o: Operands, fixed: Fixed, window: int, tile: int | None, run: Run, *, xp: Namespace
) -> Array:
    """Return the mean of isotropic attention, (g, n, 2d_v), turned back to time zero."""
    blocks = blocks_of(fixed.visibility, window, tile)
    if not blocks.number:
        return run(o, fixed)[0]
    own, own_fixed = _side_by_side(o, fixed, blocks, xp=xp)
    mean, precision = run(own, own_fixed)
    heads = o.query.shape[0]
    shape = (heads, blocks.number, blocks.size)
    mean, precision = (xp.reshape(x, (*shape, x.shape[-1])) for x in (mean, precision))
    total, carried = _far_sums(o, fixed, blocks, xp=xp)
    mean = (precision * mean + carried) / (precision + total)
    mean = xp.reshape(mean, (heads, -1, mean.shape[-1]))
    earlier = _before(o, fixed, blocks)
    return xp.concat([run(*earlier)[0], mean], axis=1) if earlier[1].visibility.queries else mean


def _before(o: Operands, fixed: Fixed, blocks: Blocks) -> tuple[Operands, Fixed]:
    """Return the part of the problem that comes before all blocks."""
    tokens = blocks.number * blocks.size
    queries, keys = (each - tokens for each in fixed.visibility[:2])
    own = o._replace(
        **{name: getattr(o, name)[:, :queries, :] for name in QUERIES},
        **{name: getattr(o, name)[:, :keys, :] for name in KEYS},
    )
    return own, fixed._replace(visibility=Visibility(queries, keys, causal=True, mask=None))


def _side_by_side(
    o: Operands, fixed: Fixed, blocks: Blocks, *, xp: Namespace
) -> tuple[Operands, Fixed]:
    """Make every block a head of its own, with the keys it sees pair by pair."""
    heads, (size, number, span, first) = o.query.shape[0], blocks

    def joined(x: Array) -> Array:
        return xp.reshape(x, (heads * number, *x.shape[2:]))

    def asked(x: Array) -> Array:
        return joined(blocks.asking(x, xp=xp))

    def seen(x: Array) -> Array:
        starts = range(first, first + span + 1, size)
        return joined(xp.concat([blocks.of(x, each, xp=xp) for each in starts], axis=2))

    def repeated(x: Array) -> Array:
        return joined(xp.broadcast_to(x[:, None, ...], (heads, number, *x.shape[1:])))

    tokens = dict.fromkeys(QUERIES, asked) | dict.fromkeys(KEYS, seen)
    own = Operands(*(tokens.get(name, repeated)(x) for name, x in zip(o._fields, o, strict=True)))
    visibility = Visibility(size, span + size, causal=True, mask=None)
    return own, fixed._replace(leading=(heads, number), visibility=visibility)


def _far_sums(o: Operands, fixed: Fixed, blocks: Blocks, *, xp: Namespace) -> tuple[Array, Array]:
    """Return Σ w and Σ w E ṽ over the far keys, to first order, (g, blocks, queries, …)."""
    size, number, _, first = blocks
    last = o.key_times[:, first - 1 : first - 1 + number * size : size, :]
    far = _far(o, blocks, last, xp=xp)
    key, value, square, length, ones = (x[:, :, None, :] for x in far)

    def parameter(x: Array) -> Array:
        return x[:, None, ...]

    query, times = (blocks.asking(x, xp=xp) for x in (o.query, o.query_times))
    lag = times - last[:, :, None, :]
    # a frame after the query is no frame: times that decrease have no estimate
    lag = xp.astype(xp.where(lag < 0.0, xp.nan, lag), query.dtype, copy=False)
    e = decay_factor(lag, parameter(o.decay), xp=xp)
    alpha = parameter(stationary(o, xp=xp))
    sigma = alpha + parameter(o.query_noise)
    c, dof = (parameter(x) for x in (scale_of(fixed, o, xp=xp), o.dof))
    ratio = c * xp.sum(query * query, axis=-1, keepdims=True) / sigma
    slope, log_weight = xp.zeros_like(ratio), xp.zeros_like(ratio)
    if fixed.weighting is not Uniform:
        slope = robust_slope(fixed.weighting, ratio, dof, xp=xp)
        log_weight = log_robust(fixed.weighting, ratio + 0.0, dof, standard(xp))
    weight = xp.exp(log_weight) / sigma
    aligned = xp.sum(query * key, axis=-1, keepdims=True)
    residual = c * e * (e * length - 2.0 * aligned)
    variance = e * e * (parameter(o.measurement) - alpha) * square
    changed = slope * residual - (1.0 + ratio * slope) * variance
    return weight * (ones + changed / sigma), weight * e * value


def stationary(o: Operands, *, xp: Namespace) -> Array:
    """Return α = σ²/2μ, NaN without decay, where there is no such variance."""
    return o.process / (2.0 * xp.where(o.decay > 0.0, o.decay, xp.nan))


def _far(o: Operands, blocks: Blocks, last: Array, *, xp: Namespace) -> Far:
    """Sum over the far keys of every block, in the frame of the last of them."""
    heads, (_, number, _, first) = o.query.shape[0], blocks
    later = blocks._replace(number=number - 1)

    def pieces(x: Array) -> list[Array]:
        new = [later.of(x, first, xp=xp)] if later.number else []
        return [x[:, None, :first, :], *new]

    def added(key: Array, value: Array, times: Array, end: Array) -> Array:
        lag = xp.astype(end[:, :, None, :] - times, key.dtype, copy=False)
        f = decay_factor(lag, o.decay[:, None, ...], xp=xp)
        turned, square = f * key, f * f
        length = xp.sum(turned * turned, axis=-1, keepdims=True)
        terms = [turned, f * value, square, length, xp.ones_like(f)]
        return xp.sum(xp.concat(terms, axis=-1), axis=2)

    ends = [last[:, :1, :], last[:, 1:, :]]
    parts = zip(*(pieces(x) for x in (o.key, o.value, o.key_times)), ends, strict=False)
    sums = xp.concat([added(*each) for each in parts], axis=1)
    passed = last - xp.concat([last[:, :1, :], last[:, :-1, :]], axis=1)
    e = decay_factor(xp.astype(passed, sums.dtype, copy=False), o.decay, xp=xp)
    width = o.key.shape[-1] + o.value.shape[-1]
    slopes = [xp.broadcast_to(e, (heads, number, width)), e * e, e * e, xp.ones_like(e)]
    _, states = prefixes(affine, (xp.concat(slopes, axis=-1), sums), axis=-2, xp=xp)
    modes = o.key.shape[-1]
    return Far(
        states[..., :modes],
        states[..., modes:width],
        *(states[..., each : each + 1] for each in range(width, width + 3)),
    )
