"""The attention weights of the latest measurements of a series, for inspection."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_core._array.arrays import Array, Namespace, is_count
from afa_core.attention import attention_weights
from afa_core.model.sde import IsotropicSDE, Noise
from afa_core.model.weighting import Rational, Uniform
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
    tail, rows = _latest(_one_of(series, place), last, xp=data.xp)
    return Weights(data.times_of(rows), _weights_of(tail, robust, last, xp=data.xp))


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


def _latest(series: Series, last: int, *, xp: Namespace) -> tuple[Series, Any]:
    """Return twice as many as `last` of the latest measurements of one series, and their rows."""
    rows = np.flatnonzero(np.asarray(series.observed[0, :]))[-2 * last :]
    places = xp.asarray(rows.tolist(), dtype=xp.int64)
    values, observed = (xp.take(x, places, axis=-1) for x in (series.values, series.observed))
    times = xp.take(series.times, places, axis=-1)
    return series._replace(values=values, observed=observed, times=times), rows[-last:]


def _weights_of(series: Series, robust: Robust | None, last: int, *, xp: Namespace) -> Array:
    """Return the weights of the `last` measurements of one series, all observed, (k, k)."""
    if robust is None:
        query = Query(*exact_filter(series)[2:], causal=True)
    else:
        query = Query(*reweighted_predictions(series, dof=robust.dof, xp=xp), causal=True)
    queries, variance = queries_of(series, query, xp=xp)
    tokens = xp.astype(series.values, queries.dtype, copy=False)[..., None]
    found = attention_weights(
        queries[..., None],
        tokens,
        tokens,
        IsotropicSDE(series.decay, series.frequency[:, None], Noise(series.process, 1.0, 1.0)),
        weighting=Uniform() if robust is None else Rational(robust.dof),
        query_times=series.times,
        key_times=series.times,
        query_variance=variance,
        correlated=True,
    )
    weights: Array = found[0, -last:, -last:]
    return weights
