"""The attention weights of the latest measurements of a series, for inspection."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_core._array.arrays import Array, Namespace, is_count
from afa_core.attention import attention_weights
from afa_core.model.sde import IsotropicSDE, Noise
from afa_core.model.weighting import Rational
from afa_core.timeseries.blocks import blocks_for
from afa_core.timeseries.data import Data
from afa_core.timeseries.passes import Robust, queries_of
from afa_core.timeseries.states import Query, Series, exact_filter, reweighted_predictions


class Weights(NamedTuple):
    """Which measurements an estimate of `Filter.filter` is made of.

    Parameters
    ----------
    times : array, shape (k,)
        Of the latest measurements.
    weights : array, shape (k, k)
        Row i has the weights of the measurements in the estimate at time i, whose sum is 1 but
        for earlier ones.
    """

    times: Any
    weights: Array


def latest_weights(
    data: Data, series: Series, robust: Robust | None, place: int, last: int
) -> Weights:
    """Return the weights of the latest measurements of one of the series.

    Raises
    ------
    ValueError
        If there is no such series, or `last` is not a number of measurements.
    """
    count = series.values.shape[0]
    if not is_count(last):
        msg = f"`last` must be a number of measurements ≥ 1, got {last!r}. Pass an integer."
        raise ValueError(msg)
    if not 0 <= place < count:
        msg = f"`series` must be from 0 to {count - 1}, got {place}. Pass the place of one."
        raise ValueError(msg)
    measured, rows = _measured(_one_of(series, place), xp=data.xp)
    last = min(last, len(rows))
    found = (
        _exact_weights(measured, last, xp=data.xp)
        if robust is None
        else _robust_weights(measured, robust, last, xp=data.xp)
    )
    return Weights(data.times_of(rows[-last:]), found)


def _one_of(series: Series, place: int) -> Series:
    """Return one of the series."""
    one = slice(place, place + 1)
    return Series(
        series.values[one, :],
        series.times,
        series.observed[one, :],
        series.decay[one],
        series.process[one],
        series.frequency[one],
        series.paired,
    )


def _measured(series: Series, *, xp: Namespace) -> tuple[Series, Any]:
    """Return the measurements of one series, and their rows."""
    rows = np.flatnonzero(np.asarray(series.observed[0, :]))
    places = xp.asarray(rows.tolist(), dtype=xp.int64)
    values, observed = (xp.take(x, places, axis=-1) for x in (series.values, series.observed))
    times = xp.take(series.times, places, axis=-1)
    return series._replace(values=values, observed=observed, times=times), rows


def _exact_weights(series: Series, last: int, *, xp: Namespace) -> Array:
    """Return K_j Π_{j<l≤i} (1 − K_l), (14.1), of the `last` measurements, all observed, (k, k)."""
    variance = exact_filter(series).predicted_variance[0, -last:]
    first = xp.isinf(variance)
    variance = xp.where(first, 0.0, variance)
    gain = xp.where(first, 1.0, variance / (1.0 + variance))
    lost = xp.cumulative_sum(xp.log1p(variance))
    return xp.tril(gain * xp.exp(xp.tril(lost - lost[:, None])))


def _robust_weights(series: Series, robust: Robust, last: int, *, xp: Namespace) -> Array:
    """Return the weights of the `last` measurements of one series, all observed, (k, k).

    As many keys before them are attended to as the filter has beside a block.
    """
    query = Query(*reweighted_predictions(series, dof=robust.dof, xp=xp), causal=True)
    variance = exact_filter(series).predicted_variance
    beside = blocks_for(variance, series.observed, robust.window, causal=True, xp=xp).before
    count = variance.shape[-1]
    rows, keys = slice(count - last, count), slice(max(count - last - beside, 0), count)
    queries, variance = queries_of(series, query, xp=xp)
    tokens = xp.astype(series.values, queries.dtype, copy=False)[:, keys, None]
    found = attention_weights(
        queries[:, rows, None],
        tokens,
        tokens,
        IsotropicSDE(series.decay, series.frequency[:, None], Noise(series.process, 1.0, 1.0)),
        weighting=Rational(robust.dof),
        query_times=series.times[rows],
        key_times=series.times[keys],
        query_variance=variance[:, rows],
        correlated=True,
    )
    weights: Array = found[0, :, -last:]
    return weights
