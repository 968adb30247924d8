"""A real series through both filters: adaptive filter attention and the exact Kalman filter."""

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
CHUNK = 512  # rows that attend at once


class Measured(NamedTuple):
    """A real series in order of time, each (n,); values count where observed."""

    values: Array
    times: Array
    observed: Array


class Model(NamedTuple):
    """dx = −μ(x − level) dt + σ dw, measured with variance η²; queries err with variance γ²."""

    decay: float
    process: float
    measurement: float
    query: float
    level: float
    dof: float


class Filtered(NamedTuple):
    """A filtered series, each (n,); NaN where nothing has been seen yet."""

    estimate: Array
    deviation: Array  # claimed standard deviation of the estimate
    prediction: Array  # of each measurement from those before it


class Exact(NamedTuple):
    """The exact Kalman filter's view of a series."""

    filtered: Filtered
    predicted_deviation: Array  # (n,), of a measurement from those before it; infinite at first
    log_likelihood: Array  # ()


class Robust(NamedTuple):
    """Attention's view of a series, and what it thinks of each measurement."""

    filtered: Filtered
    weight: Array  # (n,), robust weight of each measurement, in (0, 1]
    query: Array  # (n, 1), complex: the final queries


def exact_filter(data: Measured, model: Model) -> Exact:
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
    known, foreseen = xp.isfinite(variance), xp.isfinite(predicted)
    filtered = Filtered(
        xp.where(known, result.mean[:, 0] + model.level, xp.nan),
        xp.where(known, xp.sqrt(variance), xp.nan),
        xp.where(foreseen, result.predicted_mean[:, 0] + model.level, xp.nan),
    )
    return Exact(filtered, xp.sqrt(predicted + model.measurement), result.log_likelihood[0])


def robust_filter(
    data: Measured, model: Model, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> Robust:
    """Filter with attention, its queries drawn away from measurements that do not fit.

    The first query is the linear estimate (uniform weights). Then, some times over, attention
    gives an estimate x̂_i, the measurement's residual gives its robust weight w_i, and the next
    query is x̂_i + w_i (z_i − x̂_i): the token itself where it fits, the estimate where not.
    Keys and values stay the measurements.
    """
    xp = namespace(values=data.values)
    rows = data.values.shape[0]
    parts = [
        _attend(data, model, start, min(start + CHUNK, rows))
        for start in progress(range(0, rows, CHUNK))
    ]
    mean, precision, weight, query = (xp.concat(part) for part in zip(*parts, strict=True))
    seen = precision > 0.0
    mean = xp.where(seen, mean, xp.nan)
    decayed = xp.exp(-model.decay * (data.times[1:] - data.times[:-1]))
    filtered = Filtered(
        mean + model.level,
        xp.where(seen, 1.0 / xp.sqrt(xp.where(seen, precision, 1.0)), xp.nan),
        xp.concat([xp.nan * mean[:1], decayed * mean[:-1]]) + model.level,
    )
    return Robust(filtered, xp.where(data.observed, weight, xp.nan), query)


def look(data: Measured, model: Model, query: Array) -> Array:
    """Return the attention weights of the last queries, (k, n)."""
    rows = data.values.shape[0]
    tokens, sde, options = _problem(data, model, rows - query.shape[0], rows)
    weights: Array = attention_weights(query, tokens, tokens, sde, **options)
    return weights


def _attend(
    data: Measured, model: Model, start: int, stop: int
) -> tuple[Array, Array, Array, Array]:
    """Return mean, precision, weight and query of the rows from `start` to `stop`."""
    xp = namespace(values=data.values)
    tokens, sde, options = _problem(data, model, start, stop)
    own, weighting = tokens[start:, :], StudentT(model.dof)
    linear: Options = {**options, "weighting": Uniform()}
    query = attention(own, tokens, tokens, sde, **linear)

    def weigh(mean: Array) -> Array:
        distance = abs(own - mean) ** 2 / (model.measurement + model.query)
        fit = xp.exp(weighting.log_weight(distance, 1))
        return xp.where(data.observed[start:stop, None], fit, 0.0)

    for _ in range(ITERATIONS):
        mean = attention(query, tokens, tokens, sde, **options)
        query = mean + xp.astype(weigh(mean), own.dtype) * (own - mean)
    mean, precision = estimate(query, tokens, tokens, sde, **options)
    return xp.real(mean)[:, 0], precision, weigh(mean)[:, 0], query


def _problem(
    data: Measured, model: Model, start: int, stop: int
) -> tuple[Array, IsotropicSDE, Options]:
    """Return the tokens before `stop`, and how those from `start` on attend to them."""
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


def _centered(data: Measured, model: Model) -> Array:
    xp = namespace(values=data.values)
    return xp.where(data.observed, data.values, model.level) - model.level
