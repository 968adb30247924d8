"""Radial–tangential attention in compiled loops: its components, residuals and weights (spec §6).

The radial component and the tangential one share E and a robust weight. Each is a problem of one
component but for these: arrays, results and gradients of a component, and rows, are views that the
loops of the isotropic form take. With u = q̃/‖q‖ and E u†k̃ = P + iB the squared residuals are
(‖q‖ − P)² + B² and E²‖k‖² − P² − B²: one product of keys with u, one with i u, in a unit √c.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import compiled, compiled_block, inlined
from afa_numpy.fused.factors import carry_tile
from afa_numpy.fused.forward import hide
from afa_numpy.fused.pairs import fill_row
from afa_numpy.fused.prepare import covariances, far_weights, longest, span_of, times_finite
from afa_numpy.fused.problem import Arrays
from afa_numpy.fused.rows import (
    BITS,
    DECAYED,
    DISTANCE,
    INFLUENCE,
    KEY2,
    LOG_ROBUST,
    RATIO,
    ROWS,
    SIGMA,
    SPARE,
    WEIGHT,
)
from afa_numpy.fused.tiles import Extent, Head, head_of
from afa_numpy.fused.weights import add_log_robust, log1p_ratio_row, log_prior_row

T = ROWS
"""Where the rows of the tangential component begin; common ones are those of the radial."""
LOG_RANGE_SHARE = 0.8
"""Share of the logarithm of the largest number that the range of a power may span."""


class Component(NamedTuple):
    """What the loops of the isotropic form take of one component."""

    arrays: Arrays
    head: Head
    rows: Any


class Components(NamedTuple):
    """Both of them, with the rows of both in one array."""

    radial: Component
    tangential: Component
    rows: Any


class Extents(NamedTuple):
    """The place of a tile, for each component."""

    radial: Extent
    tangential: Extent


class Directions(NamedTuple):
    """What residuals are computed from, of a block of queries."""

    vectors: Any  # √c u above √c i u, (2n, 2d)
    lengths: Any  # √c‖q‖, (n,)


@compiled_block
def arrays_of_component(arrays: Any, s: int) -> Any:
    """Return the arrays of component s."""
    return Arrays(
        arrays.query,
        arrays.key,
        arrays.value,
        arrays.query_times,
        arrays.key_times,
        arrays.decay,
        arrays.process[:, s : s + 1],
        arrays.measurement[:, s : s + 1],
        arrays.query_noise[:, :, s : s + 1],
        arrays.scale,
        arrays.dof,
        arrays.inverse_temperature,
        arrays.query_level[:, :, :, s : s + 1],
        arrays.key_level[:, :, :, s : s + 1],
        arrays.missing[:, :, s : s + 1],
        arrays.mask,
    )


@compiled_block
def component(arrays: Any, flags: Any, powers: Any, h: int, rows: Any, s: int) -> Any:
    """Return component s of head h."""
    own = arrays_of_component(arrays, s)
    return Component(own, head_of(own, flags, powers, h), rows[s * ROWS : (s + 1) * ROWS])


@compiled_block
def components_of(arrays: Any, flags: Any, powers: Any, h: int, rows: Any) -> Any:
    """Return both components of head h."""
    radial = component(arrays, flags, powers, h, rows, 0)
    return Components(radial, component(arrays, flags, powers, h, rows, 1), rows)


@compiled_block
def prepare_head(arrays: Any, flags: Any, largest: float, prepared: Any, h: int) -> None:
    """Write whether the tokens of a head are finite, its weights powers, and those of far keys.

    Powers are those of (1 + r)^{−p}/Σ, which need no unit.
    """
    finite, powers, units, far = prepared
    span = span_of(arrays, h)
    lengths = longest(arrays.query[h]) + longest(arrays.key[h])
    distance = arrays.scale[h] * lengths * lengths
    ratio, furthest, top = 0.0, 0.0, distance
    for s in range(2):
        low, high = covariances(arrays_of_component(arrays, s), h, span)
        top = max(top, high + distance)
        if low > 0.0:
            ratio += (high + distance) / low
            furthest = max(furthest, abs(np.log(low)), abs(np.log(high)))
        else:
            ratio = np.inf
    size = lengths * lengths + longest(arrays.value[h]) + top
    finite[h] = size < 0.1 * largest and span < np.inf and times_finite(arrays, h)
    spread = flags.power * np.log1p(ratio) + furthest
    powers[h] = flags.power >= 0 and spread < LOG_RANGE_SHARE * np.log(largest)
    units[h] = 1.0
    if flags.tolerance > 0.0:
        far_weights(arrays, flags, h, far)


@compiled
def write_directions(query: Any, scale: float, found: Directions) -> None:
    """Write the directions and the lengths of queries; no direction where a query is zero."""
    number, queries, modes = query.dtype.type, query.shape[0], query.shape[1] // 2
    root = number(np.sqrt(scale))
    for i in range(queries):
        unit, square = number(0), number(0)  # lengths whose square vanishes are lengths too
        for d in range(2 * modes):
            unit = max(unit, abs(query[i, d]))
        safe = unit if unit > number(0) else number(1)
        for d in range(2 * modes):
            square += (query[i, d] / safe) * (query[i, d] / safe)
        length = number(np.sqrt(square))
        found.lengths[i] = root * length * unit
        per = root / length if unit > number(0) else number(0)
        for d in range(modes):
            real, imag = per * (query[i, d] / safe), per * (query[i, modes + d] / safe)
            found.vectors[i, d], found.vectors[i, modes + d] = real, imag
            found.vectors[queries + i, d], found.vectors[queries + i, modes + d] = -imag, real


@compiled
def carry_both(both: Components, flags: Any, extent_at: Any) -> Extents:
    """Write the factors of the keys of a tile; return its places."""
    (arrays, head, rows), (other, other_head, other_rows) = both.radial, both.tangential
    return Extents(
        carry_tile(arrays, flags, head, extent_at, rows),
        carry_tile(other, flags, other_head, extent_at, other_rows),
    )


@inlined
def weigh_both(
    real: Any, imag: Any, length: Any, both: Components, flags: Any, extents: Extents, i: int
) -> Any:
    """Write the weights of the pairs of query i, or their L, from its rows of products."""
    keys = real.shape[0]
    (arrays, head, rows), (other, other_head, other_rows) = both.radial, both.tangential
    extent, value = extents.radial, rows.dtype.type(0)
    seen, count = fill_row(arrays, flags, head, extent, i, keys, rows)
    fill_row(other, flags, other_head, extents.tangential, i, keys, other_rows)
    if head.power >= 0:
        power_rows(real, imag, length, flags.directions > 0, head.power, both.rows, count)
    else:
        log_weight_rows(real, imag, length, flags, head, both.rows, count)
        value = rows.dtype.type(-np.inf)
    hide(rows[WEIGHT], arrays.mask, extent, i, seen, count, value)
    hide(other_rows[WEIGHT], arrays.mask, extent, i, seen, count, value)
    return count


@inlined
def residuals(real: Any, imag: Any, decayed: Any, key2: Any, length: Any) -> Any:
    """Return the squared residuals along and across the query, from products with keys."""
    p, b, zero = decayed * real, decayed * imag, length - length
    along, square = p - length, b * b
    across = decayed * decayed * key2 - p * p - square
    return along * along + square, across if across > zero else zero


@inlined
def power_rows(
    real: Any, imag: Any, length: Any, correlated: bool, power: int, rows: Any, count: int
) -> None:
    """Write cρ_s, r, weights (1 + r)^{−p}/Σ_s, or times the influence, and 1/Σ_s over Σ_s."""
    one = rows.dtype.type(1)
    for j in range(count):
        radial, tangential = residuals(real[j], imag[j], rows[DECAYED, j], rows[KEY2, j], length)
        per_radial, per_tangential = one / rows[SIGMA, j], one / rows[T + SIGMA, j]
        ratio = radial * per_radial + tangential * per_tangential
        rows[DISTANCE, j], rows[T + DISTANCE, j], rows[RATIO, j] = radial, tangential, ratio
        rows[SIGMA, j], rows[T + SIGMA, j] = per_radial, per_tangential
        rows[LOG_ROBUST, j] = one / (one + ratio)
    if power == 5 and not correlated:  # the default, four degrees of freedom
        for j in range(count):
            inverse = rows[LOG_ROBUST, j]
            square = inverse * inverse
            robust = inverse * (square * square)
            rows[WEIGHT, j] = robust * rows[SIGMA, j]
            rows[T + WEIGHT, j] = robust * rows[T + SIGMA, j]
        return
    prior = INFLUENCE if correlated else SIGMA
    for j in range(count):
        rows[WEIGHT, j], rows[T + WEIGHT, j] = rows[prior, j], rows[T + prior, j]
    for _ in range(power):
        for j in range(count):
            rows[WEIGHT, j] *= rows[LOG_ROBUST, j]
            rows[T + WEIGHT, j] *= rows[LOG_ROBUST, j]


@inlined
def log_weight_rows(
    real: Any, imag: Any, length: Any, flags: Any, head: Head, rows: Any, count: int
) -> None:
    """Write cρ_s, r, log (1 + r), L_s, and 1/Σ_s over Σ_s.

    L_s is log w − log Σ_s, or log w + the logarithm of influence.
    """
    number, correlated = rows.dtype.type, flags.directions > 0
    bits, dof, one = rows[BITS].view(np.int32), number(head.dof), number(1)
    for j in range(count):
        radial, tangential = residuals(real[j], imag[j], rows[DECAYED, j], rows[KEY2, j], length)
        rows[DISTANCE, j], rows[T + DISTANCE, j] = radial, tangential
        rows[RATIO, j] = radial / rows[SIGMA, j] + tangential / rows[T + SIGMA, j]
    log1p_ratio_row(rows[RATIO], flags.weighting, rows[LOG_ROBUST], rows[SPARE], bits, count)
    for s in (0, T):
        log_prior_row(
            rows[s + SIGMA], rows[s + INFLUENCE], correlated, rows[s + WEIGHT], bits, count
        )
        add_log_robust(rows[RATIO], rows[LOG_ROBUST], flags.weighting, dof, rows[s + WEIGHT], count)
        for j in range(count):
            rows[s + SIGMA, j] = one / rows[s + SIGMA, j]
