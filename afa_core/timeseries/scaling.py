"""Series in units of their measurement noise, and results in units of the values again."""

from __future__ import annotations

from math import log, sqrt
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_ndtr

from afa_core._array.arrays import Array, complex_dtype, device_of, is_array
from afa_core.timeseries.data import Data
from afa_core.timeseries.results import Estimates, Forecast
from afa_core.timeseries.states import Belief, Query, Series, propagate, robust_weight


class Parameters(NamedTuple):
    """Parameters of the series, numbers or arrays (s,), in units of values and times."""

    decay: Any
    process: Any
    measurement: Any
    level: Any
    frequency: Any


class Scaled(NamedTuple):
    """Series in units of the measurement noise, and how to return to those of the values."""

    series: Series
    center: Array  # value, (s, 1)
    noise: Array  # η, value, (s, 1)

    @property
    def unit(self) -> Array:
        """The root of the total variance of a measurement, (s, 1)."""
        return self.noise * sqrt(self.series.parts)


def scaled_series(data: Data, parameters: Parameters) -> Scaled:
    """Return the series of data, relative to the level, or to their mean if there is none."""
    xp, values = data.xp, data.values
    paired = xp.isdtype(values.dtype, "complex floating")
    decay, process, measurement, frequency = (
        _per_series(x, data, paired=False)
        for x in (
            parameters.decay,
            parameters.process,
            parameters.measurement,
            parameters.frequency,
        )
    )
    count = xp.sum(xp.astype(data.observed, decay.dtype), axis=-1)
    center = xp.sum(values, axis=-1) / xp.where(count > 0.0, count, 1.0)
    if parameters.level is not None:
        level = _per_series(parameters.level, data, paired=paired)
        center = xp.where(decay > 0.0, level, center)
    noise = xp.sqrt(measurement)[:, None]
    series = Series(
        values, data.elapsed, data.observed, decay, process / measurement, frequency, paired
    )
    scaled = Scaled(series, center[:, None], noise)
    shifted = (values - center[:, None]) / scaled.unit
    shifted = xp.where(data.observed, shifted, xp.zeros_like(shifted))
    limit = float(xp.finfo(measurement.dtype).max) ** 0.4  # whose square is a number
    if not bool(xp.all(abs(shifted) < limit)):
        msg = (
            f"`values` must be within {limit:.0e} standard deviations of the measurement noise, "
            "got some further off. Pass a larger `measurement`, or NaN in their place."
        )
        raise ValueError(msg)
    return scaled._replace(series=series._replace(values=shifted))


def _per_series(x: Any, data: Data, *, paired: bool) -> Array:
    """Return a parameter as an array (s,) of the library of the values."""
    xp, like = data.xp, data.values
    whole = xp.isdtype(like.dtype, "complex floating")
    real = xp.real(like).dtype if whole else like.dtype
    dtype = complex_dtype(xp, real) if paired else real
    if not is_array(x) or (isinstance(x, np.ndarray) and not isinstance(like, np.ndarray)):
        x = xp.asarray(np.asarray(x).tolist(), dtype=dtype, device=device_of(like))
    x = xp.reshape(xp.astype(x, dtype, copy=False), (-1,))
    if x.shape[0] not in (1, like.shape[0]):
        msg = (
            f"`values` must have {x.shape[0]} series like those fitted, or parameters given for "
            f"each, got {like.shape[0]}. Fit them, or pass the same columns."
        )
        raise ValueError(msg)
    return xp.broadcast_to(x, (like.shape[0],))


def estimates_of(
    data: Data, scaled: Scaled, belief: Belief, *, dof: float | None, threshold: float
) -> Estimates:
    """Return estimates in the shape and units of the values."""
    xp, series = data.xp, scaled.series
    nothing = xp.full_like(belief.variance, xp.nan)
    query = Query(belief.predicted, belief.predicted_variance, causal=True)
    weight = xp.ones_like(nothing) if dof is None else robust_weight(series, query, dof, xp=xp)
    measured = 1.0 + belief.predicted_variance
    distance = abs(series.values - belief.predicted) ** 2 * series.parts  # |e|², of η² = 1
    limit = squared_threshold(threshold, series.parts)
    outlier = xp.logical_and(data.observed, distance > limit * measured)

    def value(mean: Array, variance: Array) -> Any:
        known = xp.isfinite(variance)
        found = scaled.center + scaled.unit * xp.where(known, mean, xp.zeros_like(mean))
        return xp.where(known, found, xp.nan)

    def deviation(variance: Array) -> Array:
        known = xp.isfinite(variance)
        return xp.where(known, scaled.noise * xp.sqrt(xp.where(known, variance, 0.0)), nothing)

    columns = (
        value(belief.mean, belief.variance),
        deviation(belief.variance),
        value(belief.predicted, belief.predicted_variance),
        deviation(measured),
        xp.where(data.observed, weight, nothing),
        outlier,
    )
    written = [data.layout.write(data.rows(x), xp=xp) for x in columns]
    return Estimates(*(data.given_times, data.given_values, *written, data.layout))


def forecast_of(data: Data, scaled: Scaled, belief: Belief, times: Any, elapsed: Array) -> Forecast:
    """Return the forecast at times from the belief at the last time of the data."""
    xp = data.xp
    mean, variance = propagate(
        scaled.series,
        belief.mean[:, -1:],
        belief.variance[:, -1:],
        elapsed - data.elapsed[-1],
        xp=xp,
    )
    known = xp.isfinite(variance)
    mean = xp.where(known, scaled.center + scaled.unit * mean, xp.nan)
    nothing = xp.full_like(variance, xp.nan)
    sd, measured = (
        xp.where(known, scaled.noise * xp.sqrt(x), nothing) for x in (variance, 1.0 + variance)
    )
    layout = data.layout._replace(index=times)
    written = [layout.write(x, xp=xp) for x in (mean, sd, measured)]
    return Forecast(*(times, *written, layout))


def squared_threshold(threshold: float, parts: int) -> float:
    """Return the square that the sum of the squares of n normal numbers exceeds as rarely."""
    if parts == 1:
        return threshold * threshold
    return -2.0 * (float(log_ndtr(-threshold)) + log(2.0))  # P(χ²₂ > y) = e^{−y/2}
