"""Series with their model, what is known of their states, and the exact estimates."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

from afa_core import kalman
from afa_core._array.arrays import Array, Namespace
from afa_core.model.covariance import decay_factor, propagated_covariance
from afa_core.model.sde import DiagonalSDE, Noise
from afa_core.timeseries.reweighting import first_measured, mean_weight, reweighted

NEARLY_SAME = 1e-3
"""Change of reliabilities that ends their repetition."""
ROUNDING = 450.0
"""Units of rounding to which the precision of an estimate is exact."""


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


def exact_filter(series: Series, prior: Array | None = None) -> Belief:
    """Return the estimates of the Kalman filter.

    The prior variances of the states, (s,), are infinite, as by default, where there is no prior.
    """
    found = kalman.filter(
        series.values[..., None],
        series.times,
        _diagonal(series),
        prior=None if prior is None else kalman.Prior(0.0, prior[:, None]),
        observed=series.observed[..., None],
        layout="interleaved" if series.paired else "real",
    )
    return Belief(*(x[..., 0] for x in found[:4]))


def exact_smoother(series: Series, *, xp: Namespace) -> Belief:
    """Return the estimates of the smoother, with the stationary distribution as prior."""

    def predictions(series: Series, prior: Array) -> tuple[Array, Array]:
        found = exact_filter(series, prior)
        return found.predicted, found.predicted_variance

    query = from_both_sides(series, predictions, xp=xp)
    known = xp.isfinite(query.variance)
    own = xp.where(series.observed, xp.ones_like(query.variance), 0.0)
    precision = own + xp.where(known, 1.0 / query.variance, 0.0)
    somewhere = precision > 0.0
    divisor = xp.where(somewhere, precision, 1.0)
    mean = query.mean + own / divisor * (series.values - query.mean)
    variance = xp.where(somewhere, 1.0 / divisor, xp.inf)
    return Belief(mean, variance, query.mean, query.variance)


def from_both_sides(
    series: Series,
    predictions: Callable[[Series, Array], tuple[Array, Array]],
    *,
    xp: Namespace,
) -> Query:
    """Return what filters from both ends predict of each token together.

    With ℓ the precisions of their predictions, J that of the stationary distribution, which both
    start with, 1/P = ℓᶠ + ℓᵍ − J; nothing cancels, for both are at least J.

    Parameters
    ----------
    series : Series
    predictions : callable
        Returns the mean and the variance, infinite where nothing is known, that a filter with the
        given prior variances, (s,), predicts for each token of a series.
    """

    def flip(x: Array) -> Array:
        return xp.flip(x, axis=-1)

    mirrored = series._replace(
        values=flip(series.values),
        times=-flip(series.times),
        observed=flip(series.observed),
        frequency=-series.frequency,
    )
    prior = _stationary_variance(series, xp=xp)
    ahead, before = predictions(series, prior)
    behind, after = map(flip, predictions(mirrored, prior))
    least = 4.0 * float(xp.finfo(prior.dtype).smallest_normal)  # whose inverse is a number
    one, other, stationary = (
        1.0 / xp.clip(x, least, None) for x in (before, after, prior[:, None])
    )
    precision = one + other - stationary
    known = precision > 0.0
    precision = xp.where(known, precision, 1.0)
    mean = (one * ahead + other * behind) / precision
    return Query(mean, xp.where(known, 1.0 / precision, xp.inf), causal=False)


def _stationary_variance(series: Series, *, xp: Namespace) -> Array:
    """Return σ²/2μ, (s,), infinite where there is no such number."""
    rate = 2.0 * series.decay
    largest = 0.25 * float(xp.finfo(rate.dtype).max)
    wide = series.process / largest >= rate
    return xp.where(wide, xp.inf, series.process / xp.where(wide, 1.0, rate))


def reweighted_predictions(
    series: Series, prior: Array | None = None, *, dof: float, xp: Namespace
) -> tuple[Array, Array]:
    """Return what a filter that weighs its measurements predicts of each: mean and variance.

    The prior is that of `exact_filter`.
    """
    lag = series.times[..., 1:] - series.times[..., :-1]
    lag = xp.concat([xp.zeros_like(series.times[..., :1]), lag], axis=-1)
    factor, carried, driven = _transition(series, lag, xp=xp)
    first, known = first_measured(series.observed, xp=xp)
    if prior is not None:
        given = xp.isfinite(prior)[:, None]
        start = xp.where(given, prior[:, None], 0.0)
        driven = xp.concat([start, driven[:, 1:]], axis=-1)
        first, known = xp.logical_and(first, xp.logical_not(given)), xp.logical_or(known, given)
    found = reweighted(
        series.values,
        (factor, carried, driven),
        series.observed,
        first,
        xp.ones_like(driven),
        dof=series.parts * dof,
        parts=series.parts,
        same=NEARLY_SAME,
        xp=xp,
    )
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
    """Return the estimates without their own measurement, of the given weight: mean, precision.

    The precision is zero where the difference has lost half its digits.
    """
    own = xp.where(series.observed, weight, 0.0)
    rest = precision - own
    known = rest > sqrt(ROUNDING * float(xp.finfo(precision.dtype).eps)) * precision
    total = precision * mean - own * series.values
    return total / xp.where(known, rest, 1.0), xp.where(known, rest, 0.0)


def _diagonal(series: Series) -> DiagonalSDE:
    """Return the model of one mode for each series."""
    noise = Noise(series.process[:, None], 1.0, 0.0)
    return DiagonalSDE(
        series.decay[:, None], series.frequency[:, None] if series.paired else 0.0, noise
    )
