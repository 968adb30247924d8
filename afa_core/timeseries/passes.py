r"""Estimates of series by correlated attention, robust, and by the exact filter and smoother.

The query of a token is what the other tokens predict of it, with the variance of that prediction:
in a filter the estimate before it, carried over, in a smoother the estimate without its own
measurement. A measurement that is its own query would vouch for itself. The first prediction is the
linear one; each pass of attention makes better ones (spec §14).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import pi, sqrt
from typing import Any, NamedTuple

from scipy.special import erfcx, hyperu

from afa_core._array.arrays import Array, Namespace, complex_dtype
from afa_core.attention import estimate
from afa_core.model.sde import IsotropicSDE, Noise
from afa_core.model.weighting import Rational
from afa_core.timeseries.exact import (
    Belief,
    Series,
    exact_filter,
    exact_smoother,
    held,
    propagate,
    without_own,
)

PASSES = 3
TOLERANCE = 1e-8
"""Of early exit: the share of weight that far keys may have which are left out."""


class Robust(NamedTuple):
    """Options of the robust estimates."""

    dof: float  # ν
    window: int  # least number of measurements that an estimate takes into account
    progress: Callable[[Iterable[int], str], Iterable[int]]


class Query(NamedTuple):
    """What others predict of each token, (s, n); the variance is infinite where they do not."""

    mean: Array
    variance: Array
    causal: bool


def filtered(series: Series, robust: Robust | None, *, xp: Namespace) -> Belief:
    """Return estimates from the measurements up to each time, exact if not robust."""
    return exact_filter(series) if robust is None else robust_filter(series, robust, xp=xp)


def smoothed(series: Series, robust: Robust | None, *, xp: Namespace) -> Belief:
    """Return estimates from all measurements, exact if not robust.

    Raises
    ------
    ValueError
        If a state that reverts to its level has no process noise.
    """
    certain = xp.logical_and(series.decay > 0.0, series.process <= 0.0)
    if bool(xp.any(certain)):
        msg = "`process` must be > 0 to smooth with `decay` > 0, got 0. Use filter()."
        raise ValueError(msg)
    return (
        exact_smoother(series, xp=xp) if robust is None else robust_smoother(series, robust, xp=xp)
    )


def robust_filter(series: Series, robust: Robust, *, xp: Namespace) -> Belief:
    """Return the estimates of `PASSES` passes of causal attention.

    A query is the prediction e^{λh}x̂ of the pass before. At the first measurement, which nothing
    predicts, it is the measurement. Where nothing is measured the estimate is that of the last
    measurement, carried over: attention would take outliers for the likelier the longer ago they
    are.
    """
    belief = exact = exact_filter(series)
    for number in range(PASSES):
        query = Query(belief.predicted, exact.predicted_variance, causal=True)
        mean, precision = _attend(series, query, robust, number, xp=xp)
        own = _variance(precision, exact.variance, series, robust, xp=xp)
        mean, own = held(series, mean, own, xp=xp)
        belief = Belief(mean, own, *_carried(series, mean, own, xp=xp))
    return belief


def robust_smoother(series: Series, robust: Robust, *, xp: Namespace) -> Belief:
    """Return the estimates of `PASSES` passes of attention to both sides.

    A query is the estimate of the pass before without its own measurement, whose term of the sum
    is K_i w_i z_i: with p the precision, (p x̂ − w_i z_i)/(p − w_i).
    """
    belief = exact = exact_smoother(series, xp=xp)
    for number in range(PASSES):
        query = Query(belief.predicted, exact.predicted_variance, causal=False)
        mean, precision = _attend(series, query, robust, number, xp=xp)
        weight = robust_weight(series, query, robust.dof, xp=xp)
        predicted, others = without_own(series, mean, precision, weight, xp=xp)
        own = _variance(precision, exact.variance, series, robust, xp=xp)
        rest = _variance(others, exact.predicted_variance, series, robust, xp=xp)
        belief = Belief(mean, own, predicted, rest)
    return belief


def robust_weight(series: Series, query: Query, dof: float, *, xp: Namespace) -> Array:
    """Return w = ν/(ν + |e|²/S) of each measurement, e what it differs from its prediction by."""
    known = xp.isfinite(query.variance)
    total = 1.0 + xp.where(known, query.variance, 0.0)
    distance = abs(series.values - query.mean) ** 2 / total
    return xp.where(known, dof / (dof + distance), 1.0)


def mean_weight(dof: float, parts: int) -> float:
    """Return the mean of the weight for normal data, E[ν/(ν + y)] with ny ~ χ²_n, n = 1 or 2."""
    half = 0.5 * dof
    return float(sqrt(pi * half) * erfcx(sqrt(half)) if parts == 1 else dof * hyperu(1, 1, dof))


def _attend(
    series: Series, query: Query, robust: Robust, number: int, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return means and precisions of attention from queries, (s, n)."""
    dtype = series.values.dtype
    known = xp.isfinite(query.variance)
    variance = xp.where(known, query.variance, 1.0)
    tokens, queries = (
        xp.astype(x, complex_dtype(xp, dtype), copy=False)[..., None]
        for x in (series.values, xp.where(known, query.mean, series.values))
    )
    noise = Noise(series.process, xp.ones_like(series.process), xp.ones_like(series.process))
    sde = IsotropicSDE(series.decay, series.frequency[:, None], noise)
    ranges = list(_ranges(series.observed, robust.window, causal=query.causal, xp=xp))
    means, precisions = [], []
    for place in robust.progress(range(len(ranges)), f"pass {number + 1} of {PASSES}"):
        rows, keys = ranges[place]
        found = estimate(
            queries[:, rows, :],
            tokens[:, keys, :],
            tokens[:, keys, :],
            sde,
            weighting=Rational(robust.dof),
            query_times=series.times[rows],
            key_times=series.times[keys],
            query_variance=variance[:, rows],
            mask=series.observed[:, None, keys],
            causal=query.causal,
            correlated=True,
            tolerance=TOLERANCE,
        )
        means.append(found.mean[..., 0])
        precisions.append(found.precision)
    mean = xp.concat(means, axis=-1)
    return (mean if series.paired else xp.real(mean)), xp.concat(precisions, axis=-1)


def _ranges(
    observed: Array, window: int, *, causal: bool, xp: Namespace
) -> Iterator[tuple[slice, slice]]:
    """Yield slices of queries, and of their keys: `window` or more measurements of each series."""
    rows = observed.shape[-1]
    if rows <= 2 * window:
        yield slice(0, rows), slice(0, rows)
        return
    count = xp.cumulative_sum(xp.astype(observed, xp.int64), axis=-1)  # (s, n)
    for start in range(0, rows, window):
        stop = min(start + window, rows)
        earlier = count[:, start : start + 1] - window
        first = _integer(xp.min(xp.sum(xp.astype(count <= earlier, xp.int64), axis=-1)))
        last = stop
        if not causal:
            later = count[:, stop - 1 : stop] + window
            last = _integer(xp.max(xp.sum(xp.astype(count < later, xp.int64), axis=-1))) + 1
        yield slice(start, stop), slice(min(first, start), min(last, rows))


def _integer(x: Any) -> int:
    return int(x)


def _variance(
    precision: Array, exact: Array, series: Series, robust: Robust, *, xp: Namespace
) -> Array:
    """Return E[w]/p, or the exact variance if that is larger, or if there is no measurement.

    The weights in p are less than 1 for normal data too, on average by E[w].
    """
    known = precision > 0.0
    expected = mean_weight(robust.dof, series.parts)
    variance = xp.where(known, expected / xp.where(known, precision, 1.0), exact)
    return xp.where(variance > exact, variance, exact)


def _carried(series: Series, mean: Array, variance: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """Return the predictions of the states from the estimates before them."""
    lag = series.times[1:] - series.times[:-1]
    ahead, grown = propagate(series, mean[:, :-1], variance[:, :-1], lag, xp=xp)
    return (
        xp.concat([xp.zeros_like(mean[:, :1]), ahead], axis=-1),
        xp.concat([xp.full_like(variance[:, :1], xp.inf), grown], axis=-1),
    )
