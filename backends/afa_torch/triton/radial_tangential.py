"""The radial–tangential form on a GPU: two components with one E and one robust weight (spec §6).

With u = q̃/‖q‖ and E √c u†k̃ = P + iB the squared residuals are (√c‖q‖ − P)² + B² and
cE²‖k‖² − P² − B². Tokens of the radial component's queries are u, of the tangential one's i u, as
they enter products; their `square` is √c‖q‖, and √c over the length of u as it was rounded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.arguments import Head, Model, head_of
from afa_torch.triton.covariance import of_keys, of_queries
from afa_torch.triton.fast_math import log1p, power, reciprocal
from afa_torch.triton.tiles import Queries, load_queries, load_tokens, or_hidden, pair_products
from afa_torch.triton.tiles import tile_of as tile_of_component
from afa_torch.triton.weights import (
    GAUSSIAN,
    STUDENT,
    log_prior,
    log_robust,
    logit_gradients,
    robust_slope,
)


class Components(NamedTuple):
    """Something of both components."""

    radial: Any
    tangential: Any


class Residuals(NamedTuple):
    """Squared residuals of pairs, and what they are computed from."""

    radial: Any  # cρ along the query
    tangential: Any  # cρ across it
    p: Any
    b: Any
    along: Any  # P − √c‖q‖


class BothGradients(NamedTuple):
    """Weights of both components, and gradients in log w_s, cρ_s and Σ_s; sums in ν_s and β."""

    weights: Components
    log_weight: Components
    squared: Components
    sigma: Components
    dof: Any
    inverse_temperature: Any


@triton.jit
def heads_of(q, k, mask, across, model, n, flags: tl.constexpr):
    """Return the head of each component; they share what is not of its noise."""
    radial = head_of(q.radial, k.radial, mask, across.radial, model.radial, n, flags)
    own = head_of(q.tangential, k.tangential, mask, across.tangential, model.tangential, n, flags)
    shared = radial.model
    both = Model(
        shared.decay, own.model.process, own.model.measurement, shared.scale, shared.dof,
        shared.inverse_temperature, shared.unit, shared.powers,
    )  # fmt: skip
    return Components(
        radial, Head(own.q, own.k, own.mask, own.across, both, own.index, own.block, own.blocks)
    )


@triton.jit
def load_both(heads, first, n, flags: tl.constexpr):
    """Load a block of queries for each component."""
    radial, q = load_queries(heads.radial, first, n, flags), heads.tangential.q
    rows, inside = radial.rows, radial.inside
    own = Queries(
        first,
        rows,
        inside,
        load_tokens(q.tokens, rows, inside, flags.width, flags.padded, False),
        tl.load(q.square + rows, mask=inside, other=0.0),
        radial.times,
        tl.load(q.noise + rows * n.noise_row, mask=inside, other=1.0),
    )
    return Components(radial, own)


@triton.jit
def tiles_of(heads, queries, keys, ends, sides, n, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return the pairs of two blocks for each component."""
    along, across = ends.radial, ends.tangential
    radial = tile_of_component(
        heads.radial, queries.radial, keys, along, sides.radial, n, SIDE, flags
    )
    own = tile_of_component(
        heads.tangential, queries.tangential, keys, across, sides.tangential, n, SIDE, flags
    )
    return Components(radial, own)


@triton.jit
def residuals_of(tiles, flags: tl.constexpr):
    """Return the squared residuals of the pairs of a tile."""
    tile, other = tiles.radial, tiles.tangential
    unit = tile.decayed * of_queries(other.queries.square, flags)
    p = unit * pair_products(tile.queries.tokens, tile.keys.tokens, flags)
    b = unit * pair_products(other.queries.tokens, tile.keys.tokens, flags)
    along, square = p - of_queries(tile.queries.square, flags), b * b
    across = tile.decayed * tile.decayed * of_keys(tile.keys.square, flags) - p * p - square
    across = tl.maximum(across, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return Residuals(along * along + square, across, p, b, along)


@triton.jit
def both_weights(model, tiles, residuals, flags: tl.constexpr):
    """Return the weights of both components, or their L."""
    radial, own = tiles.radial, tiles.tangential
    per_radial, per_own = reciprocal(radial.sigma, flags), reciprocal(own.sigma, flags)
    ratio = residuals.radial * per_radial + residuals.tangential * per_own
    if flags.power >= 0:
        along = radial.influence if flags.directions > 0 else per_radial
        across = own.influence if flags.directions > 0 else per_own
        if flags.power > 0:
            robust = power(reciprocal(1.0 + ratio, flags), flags.power)
            along, across = along * robust, across * robust
        along = or_hidden(along, radial.visible, 0.0, radial.cut)
        across = or_hidden(across, radial.visible, 0.0, radial.cut)
    else:
        robust = log_robust(model, ratio, flags)
        along, across = log_prior(radial, flags) + robust, log_prior(own, flags) + robust
    return Components(along, across)


@triton.jit
def both_gradients(model, tiles, residuals, carried, rows, flags: tl.constexpr):
    """Return the gradients of the weights of both components; `carried` is that in a weight."""
    found = both_weights(model, tiles, residuals, flags)
    by_beta = 0.0
    if flags.power >= 0:
        weights = found
        along = found.radial * (carried.radial + of_queries(rows.radial.through, flags))
        through = of_queries(rows.tangential.through, flags)
        across = found.tangential * (carried.tangential + through)
    else:
        radial, along, one = logit_gradients(
            model, tiles.radial, found.radial, carried.radial, rows.radial, flags
        )
        own, across, two = logit_gradients(
            model, tiles.tangential, found.tangential, carried.tangential, rows.tangential, flags
        )
        weights, by_beta = Components(radial, own), one + two
    per_radial = reciprocal(tiles.radial.sigma, flags)
    per_own = reciprocal(tiles.tangential.sigma, flags)
    ratio = residuals.radial * per_radial + residuals.tangential * per_own
    by_ratio = -robust_slope(model, ratio, flags) * (along + across)
    squared = Components(by_ratio * per_radial, by_ratio * per_own)
    own_log: tl.constexpr = 0.0 if flags.directions > 0 else 1.0
    sigma = Components(
        -per_radial * (own_log * along + squared.radial * residuals.radial),
        -per_own * (own_log * across + squared.tangential * residuals.tangential),
    )
    by_dof = 0.0
    if flags.weighting != GAUSSIAN:  # whose c has no ν_s
        by_dof -= tl.sum(by_ratio * ratio, 1) / model.dof
    if flags.weighting == STUDENT and flags.power < 0:
        by_dof -= tl.sum((along + across) * log1p(ratio, flags), 1)
    return BothGradients(weights, Components(along, across), squared, sigma, by_dof, by_beta)
