"""Series with their model, what is known of their states, and the exact estimates."""

from __future__ import annotations

from typing import NamedTuple

from afa_core import kalman
from afa_core._array.arrays import Array, Namespace
from afa_core.model.covariance import decay_factor, propagated_covariance
from afa_core.model.sde import DiagonalSDE, Noise
from afa_core.timeseries.reweighting import mean_weight, reweighted

DIFFUSE = 1e12
"""Prior variance, in units of the measurement noise, that stands for none."""
NEARLY_SAME = 1e-3
"""Change of reliabilities that ends their repetition."""
ROUNDING = 450.0
"""Units of rounding of a precision up to which a difference of two is zero."""


class Series(NamedTuple):
    """s series at n common times, with their model, in units of the measurement noise.

    The states revert to zero with rate μ and rotate with ω; their noise is s = σ²/η² and η² = 1,
    total over the components of a pair.
    """

    values: Array  # (s, n), real, or complex of pairs; zero where nothing is measured
    times: Array  # (n,)
    observed: Array  # (s, n)
    decay: Array  # (s,)
    process: Array  # (s,)
    frequency: Array  # (s,)
    paired: bool  # whether a value is a pair

    @property
    def parts(self) -> int:
        """Number of real components of a value."""
        return 2 if self.paired else 1


class Belief(NamedTuple):
    """Estimates of the states, and predictions of them from other measurements, (s, n).

    Variances are total over the components of a pair, infinite where nothing is known.
    """

    mean: Array
    variance: Array
    predicted: Array
    predicted_variance: Array


class Query(NamedTuple):
    """What others predict of each token, (s, n); the variance is infinite where they do not."""

    mean: Array
    variance: Array
    causal: bool


def exact_filter(series: Series) -> Belief:
    """Return the estimates of the Kalman filter, which starts without a prior."""
    found = kalman.filter(
        series.values[..., None],
        series.times,
        _diagonal(series),
        observed=series.observed[..., None],
        layout="interleaved" if series.paired else "real",
    )
    return Belief(*(x[..., 0] for x in found[:4]))


def exact_smoother(series: Series, *, xp: Namespace) -> Belief:
    """Return the estimates of the smoother, with the stationary distribution as prior."""
    rate = 2.0 * series.decay
    process = xp.where(rate > 0.0, series.process, 1.0)
    variance = xp.where(
        rate * DIFFUSE > process, process / xp.where(rate > 0.0, rate, 1.0), DIFFUSE
    )
    found = kalman.smoother(
        series.values[..., None],
        series.times,
        _diagonal(series),
        prior=kalman.Prior(0.0, variance[..., None]),
        observed=series.observed[..., None],
        layout="interleaved" if series.paired else "real",
    )
    mean, variance = found.mean[..., 0], found.variance[..., 0]
    variance = xp.where(variance < 0.5 * DIFFUSE, variance, xp.inf)
    precision = 1.0 / variance
    predicted, rest = without_own(series, mean, precision, xp.ones_like(variance), xp=xp)
    known = rest > 0.0
    return Belief(
        mean, variance, predicted, xp.where(known, 1.0 / xp.where(known, rest, 1.0), xp.inf)
    )


def reweighted_predictions(series: Series, dof: float, *, xp: Namespace) -> tuple[Array, Array]:
    """Return what a filter that weighs its measurements predicts of each: mean and variance."""
    lag = series.times[..., 1:] - series.times[..., :-1]
    lag = xp.concat([xp.zeros_like(series.times[..., :1]), lag], axis=-1)
    found = reweighted(
        series.values,
        _transition(series, lag, xp=xp),
        series.observed,
        xp.ones_like(series.process[:, None] + lag),
        dof=series.parts * dof,
        parts=series.parts,
        same=NEARLY_SAME,
        xp=xp,
    )
    seen = xp.cumulative_sum(xp.astype(series.observed, xp.int64), axis=-1)
    known = seen - xp.astype(series.observed, seen.dtype) > 0
    return found.predicted, xp.where(known, found.variance, xp.inf)


def robust_weight(series: Series, query: Query, dof: float, *, xp: Namespace) -> Array:
    """Return w = ν/(ν + |e|²/S) of each measurement, e what it differs from its prediction by."""
    known = xp.isfinite(query.variance)
    total = 1.0 + xp.where(known, query.variance, 0.0)
    distance = abs(series.values - query.mean) ** 2 / total
    return xp.where(known, dof / (dof + distance), 1.0)


def calibrated(
    precision: Array, exact: Array, series: Series, dof: float, *, xp: Namespace
) -> Array:
    """Return E[w]/p, or the exact variance if that is larger, or if there is no measurement.

    The weights in p are less than 1 for normal data too, on average by E[w].
    """
    known = precision > 0.0
    expected = mean_weight(dof, series.parts)
    variance = xp.where(known, expected / xp.where(known, precision, 1.0), exact)
    return xp.where(variance > exact, variance, exact)


def propagate(
    series: Series, mean: Array, variance: Array, lag: Array, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return e^{λh}x̂ and E²P + V, (s, n), of lags h, (n,) or (s, n)."""
    factor, carried, driven = _transition(series, lag, xp=xp)
    known = xp.isfinite(variance)
    grown = xp.where(known, carried * xp.where(known, variance, 0.0) + driven, xp.inf)
    return factor * mean, grown


def _transition(series: Series, lag: Array, *, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return e^{λh}, E² and V, (s, n), of lags h, (n,) or (s, n)."""
    decay = series.decay[:, None]
    lag = xp.astype(lag, decay.dtype, copy=False)
    factor = decay_factor(lag, decay, xp=xp)
    driven = propagated_covariance(lag, decay, series.process[:, None], xp=xp)
    carried = factor**2
    if series.paired:
        angle = series.frequency[:, None] * lag
        factor = factor * (xp.cos(angle) + 1j * xp.sin(angle))
    return factor, carried, driven


def without_own(
    series: Series, mean: Array, precision: Array, weight: Array, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return the estimates without their own measurement, of the given weight: mean, precision."""
    own = xp.where(series.observed, weight, 0.0)
    rest = precision - own
    known = rest > 2.0 / DIFFUSE + ROUNDING * float(xp.finfo(precision.dtype).eps) * precision
    total = precision * mean - own * series.values
    return total / xp.where(known, rest, 1.0), xp.where(known, rest, 0.0)


def _diagonal(series: Series) -> DiagonalSDE:
    """Return the model of one mode for each series."""
    noise = Noise(series.process[:, None], 1.0, 0.0)
    return DiagonalSDE(
        series.decay[:, None], series.frequency[:, None] if series.paired else 0.0, noise
    )
