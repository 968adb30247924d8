r"""Robust estimates of series by correlated attention (spec §14).

The query of a token is what the other tokens predict of it, with the variance of that prediction: a
measurement that is its own query would vouch for itself. Predictions are those of a filter that
weighs its measurements, from one side, or for a smoother from both. With them a single pass of
attention is as near to the robust filter that goes token by token as several passes that begin
with the predictions of the linear filter, which gross outliers take along.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, complex_dtype
from afa_core.attention import estimate
from afa_core.model.sde import IsotropicSDE, Noise
from afa_core.model.weighting import Rational
from afa_core.timeseries.blocks import (
    Blocks,
    Tokens,
    blocks_for,
    cut_keys,
    cut_rows,
    tokens_of,
)
from afa_core.timeseries.options import dof_of
from afa_core.timeseries.progress import Progress, without_progress
from afa_core.timeseries.states import (
    Belief,
    Query,
    Series,
    calibrated,
    exact_filter,
    exact_smoother,
    from_both_sides,
    propagate,
    reweighted_predictions,
    robust_weight,
    without_own,
)
from afa_core.timeseries.transient import is_transient, smoothed_transient

TOLERANCE = 1e-8
"""Of early exit: the share of weight that far keys may have which are left out."""


class Robust(NamedTuple):
    """Options of the robust estimates."""

    dof: float  # ν
    window: int  # number of measurements on a side that suffice for an estimate
    progress: Progress

    @classmethod
    def of(cls, options: Mapping[str, Any], progress: Progress = without_progress) -> Robust | None:
        """Return the options among those of a filter, None if its estimates are exact."""
        dof = dof_of(options)
        return None if dof is None else cls(dof, int(options["window"]), progress)


def filtered(series: Series, robust: Robust | None, *, xp: Namespace) -> Belief:
    """Return estimates from the measurements up to each time, exact if not robust."""
    return exact_filter(series) if robust is None else robust_filter(series, robust, xp=xp)


def smoothed(series: Series, robust: Robust | None, *, xp: Namespace) -> Belief:
    """Return estimates from all measurements, exact if not robust."""

    def of(series: Series) -> Belief:
        if robust is None:
            return exact_smoother(series, xp=xp)
        return robust_smoother(series, robust, xp=xp)

    transient = is_transient(series, xp=xp)
    if not bool(xp.any(transient)):
        return of(series)
    others = of(series._replace(process=xp.where(transient, 1.0, series.process)))
    found = smoothed_transient(series, None if robust is None else robust.dof, xp=xp)
    return Belief(*(xp.where(transient[:, None], *x) for x in zip(found, others, strict=True)))


def robust_filter(series: Series, robust: Robust, *, xp: Namespace) -> Belief:
    """Return the estimates of causal attention, from measurement to measurement.

    At the first measurement, which nothing predicts, the query is the measurement.
    """
    tokens = tokens_of(series.values, series.times, series.observed, xp=xp)
    measured = series._replace(values=tokens.values, times=tokens.times, observed=tokens.measured)
    exact = exact_filter(measured)
    blocks = blocks_for(
        exact.predicted_variance, tokens.measured, robust.window, causal=True, xp=xp
    )
    query = Query(*reweighted_predictions(measured, dof=robust.dof, xp=xp), causal=True)
    mean, precision = _attend(measured, tokens, query, robust, blocks, xp=xp)
    own = calibrated(precision, exact.variance, series, robust.dof, xp=xp)
    return _at_rows(series, tokens, mean, own, xp=xp)


def robust_smoother(series: Series, robust: Robust, *, xp: Namespace) -> Belief:
    """Return the estimates of attention to both sides.

    What others predict of a token is the estimate without its own measurement, whose term of the
    sum is K_i w_i z_i: with p the precision, (p x̂ − w_i z_i)/(p − w_i). Where that difference
    cancels, it is the query.
    """
    tokens = tokens_of(series.values, series.times, series.observed, xp=xp)
    ahead = exact_filter(
        series._replace(values=tokens.values, times=tokens.times, observed=tokens.measured)
    )
    blocks = blocks_for(
        ahead.predicted_variance, tokens.measured, robust.window, causal=False, xp=xp
    )
    exact = exact_smoother(series, xp=xp)
    query = from_both_sides(series, partial(reweighted_predictions, dof=robust.dof, xp=xp), xp=xp)
    mean, precision = _attend(series, tokens, query, robust, blocks, xp=xp)
    weight = robust_weight(series, query, robust.dof, xp=xp)
    predicted, others = without_own(series, mean, precision, weight, xp=xp)
    own = calibrated(precision, exact.variance, series, robust.dof, xp=xp)
    rest = calibrated(others, exact.predicted_variance, series, robust.dof, xp=xp)
    known = others > 0.0
    predicted = xp.where(known, predicted, query.mean)
    return Belief(mean, own, predicted, xp.where(known, rest, query.variance))


def queries_of(series: Series, query: Query, *, xp: Namespace) -> tuple[Array, Array]:
    """Return queries, complex, and their variances: measurements themselves if none is known."""
    known = xp.isfinite(query.variance)
    queries = xp.where(known, query.mean, series.values)
    dtype = complex_dtype(xp, series.values.dtype)
    return xp.astype(queries, dtype, copy=False), xp.where(known, query.variance, 1.0)


def _attend(
    series: Series,
    tokens: Tokens,
    query: Query,
    robust: Robust,
    blocks: Blocks,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return means and precisions of attention from queries to the tokens, (s, n)."""
    queries, variance = queries_of(series, query, xp=xp)
    values = xp.astype(tokens.values, queries.dtype, copy=False)
    count = queries.shape[-1]
    groups = list(blocks.groups(count, queries.shape[0]))
    means: list[Array] = []
    precisions: list[Array] = []
    for place in robust.progress(range(len(groups)), "attending"):
        rows = partial(cut_rows, blocks=blocks, group=groups[place], xp=xp)
        first = blocks.first(tokens, groups[place], causal=query.causal, xp=xp)
        keys = partial(cut_keys, first=first, blocks=blocks, xp=xp)
        key, there = keys(values)
        found = estimate(
            rows(queries)[..., None],
            key[..., None],
            key[..., None],
            _isotropic(series),
            weighting=Rational(robust.dof),
            query_times=rows(series.times),
            key_times=keys(tokens.times)[0],
            query_variance=rows(variance),
            mask=xp.logical_and(keys(tokens.measured)[0], there)[..., None, :],
            causal=query.causal,
            correlated=True,
            tolerance=TOLERANCE,
        )
        for x, into in ((found.mean[..., 0], means), (found.precision, precisions)):
            into.append(xp.reshape(x, (x.shape[0], -1)))
    mean, precision = (xp.concat(each, axis=-1)[:, :count] for each in (means, precisions))
    return (mean if series.paired else xp.real(mean)), precision


def _isotropic(series: Series) -> IsotropicSDE:
    """Return the model of one mode for each series, with an axis of blocks."""
    noise = Noise(series.process[:, None], 1.0, 1.0)
    return IsotropicSDE(series.decay[:, None], series.frequency[:, None, None], noise)


def _at_rows(
    series: Series, tokens: Tokens, mean: Array, variance: Array, *, xp: Namespace
) -> Belief:
    """Return what is known at each row, and was before it: the latest estimate, carried there."""

    def carried(place: Array) -> tuple[Array, Array]:
        known = place >= 0
        latest = xp.clip(place, 0, tokens.times.shape[-1] - 1)
        own, spread, time = (
            xp.take_along_axis(x, latest, axis=-1) for x in (mean, variance, tokens.times)
        )
        lag = xp.where(known, series.times - time, 0.0)
        return propagate(series, own, xp.where(known, spread, xp.inf), lag, xp=xp)

    own = xp.astype(series.observed, tokens.latest.dtype)
    return Belief(*carried(tokens.latest), *carried(tokens.latest - own))
