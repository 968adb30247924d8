"""How results over different keys combine into the result over all of them (spec §9)."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array, Namespace
from afa_core._array.log_sum_exp import finite_peak
from afa_core.distributed.ring import RingTile
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import StaticProblem


def combine_results(
    a: StreamResult, b: StreamResult, static: StaticProblem, *, xp: Namespace
) -> StreamResult:
    """Return the result over two sets of keys from the results over each of them.

    With Z_a and Z_b the sums of weights, the mean is (Z_a x̂_a + Z_b x̂_b) / (Z_a + Z_b), and
    precisions add. The peak becomes max(log Z_a, log Z_b): a peak that arrives may be a fixed
    reference, far from log Z.
    """
    peak = xp.maximum(_log_sum(a, xp=xp), _log_sum(b, xp=xp))
    reference = finite_peak(peak, xp=xp)

    def rescaled(x: StreamResult) -> Array:
        """Return Z·e^{−reference}, zero where Z = 0 whatever the peak."""
        return xp.where(_is_zero(x.total), 0.0, x.total * xp.exp(x.peak - reference))

    sum_a, sum_b = rescaled(a), rescaled(b)
    total = sum_a + sum_b
    scale = 1.0 / xp.where(_is_zero(total), 1.0, total)

    def weighted(x: StreamResult, weight: Array) -> Array:
        return x.mean * _per_channel(weight * scale, x.mean.shape[-1], static, xp=xp)

    mean = weighted(a, sum_a) + weighted(b, sum_b)
    return StreamResult(mean, a.precision + b.precision, peak, total)


def combine_tile(
    result: StreamResult,
    tile_result: StreamResult,
    tile: RingTile,
    static: StaticProblem,
    *,
    xp: Namespace,
) -> StreamResult:
    """Combine the result of all queries with that of a tile, whose queries are the last of them."""
    start = tile.queries.start
    rows = StreamResult(*(x[:, start:, :] for x in result))
    combined = combine_results(rows, tile_result, static, xp=xp)
    pairs = zip(result, combined, strict=True)
    return StreamResult(*(xp.concat([x[:, :start, :], y], axis=1) for x, y in pairs))


def _log_sum(x: StreamResult, *, xp: Namespace) -> Array:
    """Return log Z, −∞ where Z = 0 and NaN where Z is NaN."""
    positive = xp.where(_is_zero(x.total), 1.0, x.total)
    return xp.where(_is_zero(x.total), -xp.inf, x.peak + xp.log(positive))


def _is_zero(x: Any) -> Any:
    return x == 0.0  # not so for NaN


def _per_channel(x: Array, width: int, static: StaticProblem, *, xp: Namespace) -> Array:
    """Repeat numbers per component (g, n, s) for the channels of the estimates, (g, n, width)."""
    heads, tokens, components = x.shape
    groups = components // static.estimates
    x = xp.reshape(x, (heads, tokens, static.estimates, 1, groups, 1))
    shape = (heads, tokens, static.estimates, 2, groups, width // (2 * components))
    return xp.reshape(xp.broadcast_to(x, shape), (heads, tokens, width))
