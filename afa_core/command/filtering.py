"""Adaptive filter attention and the exact Kalman filter on a series of real measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from afa_core import kalman
from afa_core._array.arrays import Array, complex_dtype, namespace
from afa_core._checks.arguments import Options
from afa_core.attention import attention, attention_weights, estimate
from afa_core.model.sde import DiagonalSDE, IsotropicSDE, Noise
from afa_core.model.weighting import StudentT, Uniform

ITERATIONS = 10
"""Updates of the queries."""

CHUNK = 512
"""Rows whose attention is evaluated at once."""


class Observations(NamedTuple):
    """Measurements in order of time, each (n,); values are missing where not observed."""

    values: Array
    times: Array
    observed: Array


class SeriesModel(NamedTuple):
    """dx = −μ(x − level) dt + σ dw, with measurement variance η² and query variance γ²."""

    decay: float
    process: float
    measurement: float
    query: float
    level: float
    dof: float


class StateEstimates(NamedTuple):
    """The estimates of a filter, each (n,); NaN before the first measurement."""

    estimate: Array
    deviation: Array  # estimated standard deviation of the estimate
    prediction: Array  # of each measurement from those before it


class KalmanResult(NamedTuple):
    """The result of the exact Kalman filter."""

    states: StateEstimates
    predicted_deviation: Array  # (n,), of a measurement given those before it; at first infinite
    log_likelihood: Array  # ()


class AttentionResult(NamedTuple):
    """The result of attention."""

    states: StateEstimates
    weight: Array  # (n,), robust weight of each measurement, in (0, 1]
    query: Array  # (n, 1), complex, after the last update


def kalman_filter(data: Observations, model: SeriesModel) -> KalmanResult:
    """Run the exact Kalman filter with a diffuse start."""
    xp = namespace(values=data.values)
    result = kalman.filter(
        _centered(data, model)[:, None],
        data.times,
        DiagonalSDE(model.decay, 0.0, Noise(model.process, model.measurement, 0.0)),
        observed=data.observed[:, None],
        layout="real",
    )
    variance, predicted = result.variance[:, 0], result.predicted_variance[:, 0]
    known, predictable = xp.isfinite(variance), xp.isfinite(predicted)
    states = StateEstimates(
        xp.where(known, result.mean[:, 0] + model.level, xp.nan),
        xp.where(known, xp.sqrt(variance), xp.nan),
        xp.where(predictable, result.predicted_mean[:, 0] + model.level, xp.nan),
    )
    deviation = xp.sqrt(predicted + model.measurement)
    return KalmanResult(states, deviation, result.log_likelihood[0])


def attention_filter(
    data: Observations,
    model: SeriesModel,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> AttentionResult:
    """Filter with attention, with queries that ignore outliers.

    The first query is the linear estimate (uniform weights). In each of the following iterations
    attention gives an estimate x̂_i, the residual of the measurement its robust weight w_i, and the
    next query is x̂_i + w_i (z_i − x̂_i): close to the measurement if the residual is small, close
    to the estimate if it is large. Keys and values are the measurements throughout.
    """
    xp = namespace(values=data.values)
    rows = data.values.shape[0]
    parts = [
        _attend(data, model, start, min(start + CHUNK, rows))
        for start in progress(range(0, rows, CHUNK))
    ]
    mean, precision, weight, query = (xp.concat(part) for part in zip(*parts, strict=True))
    known = precision > 0.0
    mean = xp.where(known, mean, xp.nan)
    decayed = xp.exp(-model.decay * (data.times[1:] - data.times[:-1]))
    states = StateEstimates(
        mean + model.level,
        xp.where(known, 1.0 / xp.sqrt(xp.where(known, precision, 1.0)), xp.nan),
        xp.concat([xp.nan * mean[:1], decayed * mean[:-1]]) + model.level,
    )
    return AttentionResult(states, xp.where(data.observed, weight, xp.nan), query)


def last_weights(data: Observations, model: SeriesModel, query: Array) -> Array:
    """Return the attention weights of the last k queries, (k, n)."""
    rows = data.values.shape[0]
    tokens, sde, options = _causal_problem(data, model, rows - query.shape[0], rows)
    weights: Array = attention_weights(query, tokens, tokens, sde, **options)
    return weights


def _attend(
    data: Observations, model: SeriesModel, start: int, stop: int
) -> tuple[Array, Array, Array, Array]:
    """Return the means, precisions, weights and queries of the rows from `start` to `stop`."""
    xp = namespace(values=data.values)
    tokens, sde, options = _causal_problem(data, model, start, stop)
    own, weighting = tokens[start:, :], StudentT(model.dof)
    linear: Options = {**options, "weighting": Uniform()}
    query = attention(own, tokens, tokens, sde, **linear)

    def robust_weight(mean: Array) -> Array:
        distance = abs(own - mean) ** 2 / (model.measurement + model.query)
        weight = xp.exp(weighting.log_weight(distance, 1))
        return xp.where(data.observed[start:stop, None], weight, 0.0)

    for _ in range(ITERATIONS):
        mean = attention(query, tokens, tokens, sde, **options)
        query = mean + xp.astype(robust_weight(mean), own.dtype) * (own - mean)
    mean, precision = estimate(query, tokens, tokens, sde, **options)
    return xp.real(mean)[:, 0], precision, robust_weight(mean)[:, 0], query


def _causal_problem(
    data: Observations, model: SeriesModel, start: int, stop: int
) -> tuple[Array, IsotropicSDE, Options]:
    """Return the tokens before `stop`, the model, and the options for queries from `start` on."""
    xp = namespace(values=data.values)
    tokens = xp.astype(_centered(data, model), complex_dtype(xp, data.values.dtype))
    sde = IsotropicSDE(model.decay, 0.0, Noise(model.process, model.measurement, model.query))
    options: Options = {
        "query_times": data.times[start:stop],
        "key_times": data.times[:stop],
        "mask": data.observed[None, :stop],
        "weighting": StudentT(model.dof),
    }
    return tokens[:stop, None], sde, options


def _centered(data: Observations, model: SeriesModel) -> Array:
    xp = namespace(values=data.values)
    return xp.where(data.observed, data.values, model.level) - model.level
