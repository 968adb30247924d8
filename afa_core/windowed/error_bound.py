"""A bound of the error that the first order of the far keys makes (spec §9).

Let ε be the largest E of a far key, α = σ²/2μ and Σ∞ = γ² + α. Every weight is w(1 + h) with w the
weight at infinite lag, where h is a power series in the changes of x and Σ, whose relative sizes
are at most r and s. If F is a series whose coefficients are at least as large, then h is at most
F', its terms beyond the first order are at most F''/2, and the error of an estimate is at most
(ε F' + F''/2)/(1 − F') times the largest norm of a value. As r and s are O(ε), so is F'. Queries
with variances γ² of their own have bounds of their own.
"""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.model.covariance import decay_factor
from afa_core.model.weighting import Gaussian, Rational, Uniform
from afa_core.streaming.operands import Operands, StaticProblem, residual_scale
from afa_core.windowed.blocks import visible_keys
from afa_core.windowed.far_keys import latest_times, stationary_variance


class Majorant(NamedTuple):
    """The series F that bounds the change of a weight, and where it converges."""

    value: Array
    d_log: Array  # (log F)'
    d2_log: Array  # (log F)''
    converges: Array


def error_bound(operands: Operands, static: StaticProblem, window: int, *, xp: Namespace) -> Array:
    """Return the bound for every head, (g,), infinite where the series does not converge."""
    lag = _least_far_lag(operands, static, window, xp=xp)
    if lag is None:
        return xp.zeros_like(operands.decay[:, 0, 0])
    epsilon = decay_factor(lag, operands.decay, xp=xp)
    series = _majorant(operands, static, epsilon, xp=xp)
    first_order = series.value * series.d_log  # F'
    remainder = 0.5 * series.value * (series.d_log**2 + series.d2_log)  # F''/2
    denominator = xp.where(first_order < 1.0, 1.0 - first_order, 1.0)
    relative_error = (epsilon * first_order + remainder) / denominator
    bounded = xp.logical_and(series.converges, first_order < 1.0)
    largest = largest_norm(operands.value, xp=xp)
    return xp.max(xp.where(bounded, relative_error * largest, xp.inf), axis=1)[:, 0]


def far_keys_of(static: StaticProblem, window: int) -> tuple[int, slice]:
    """Return the first query with a far key, and the latest far keys of this and later ones."""
    offset = static.visibility.keys - static.visibility.queries
    first = max(window - offset, 0)
    end = offset + static.visibility.queries - window
    return first, slice(max(offset + first - window, 0), max(end, 0))


def _least_far_lag(
    operands: Operands, static: StaticProblem, window: int, *, xp: Namespace
) -> Array | None:
    """Return the least lag of a far key, (g, 1, 1), NaN if negative, or None without far keys."""
    first, far = far_keys_of(static, window)
    latest = latest_times(operands, visible_keys(operands, static, xp=xp), xp=xp)[:, far, :]
    if not latest.shape[1]:
        return None
    lag = xp.min(operands.query_times[:, first:, :] - latest, axis=1, keepdims=True)
    return xp.astype(xp.where(lag < 0.0, xp.nan, lag), operands.query.dtype, copy=False)


def _majorant(
    operands: Operands, static: StaticProblem, epsilon: Array, *, xp: Namespace
) -> Majorant:
    """Return F for relative changes r and s of x and Σ, which are O(ε) and O(ε²)."""
    alpha, own = stationary_variance(operands, xp=xp), operands.query_variance
    sigma = alpha + (own if own.shape[-1] else operands.query_noise)  # Σ∞, (g, n or 1, 1)
    c = residual_scale(static, operands, xp=xp)
    s = epsilon**2 * abs(operands.measurement - alpha) / sigma
    zero = xp.zeros_like(s)
    if static.weighting is Uniform:  # of Σ alone
        return _power_majorant(zero + 1.0, zero, zero, s, xp=xp)
    per_length = xp.sqrt(c / sigma)
    length = epsilon * per_length * largest_norm(operands.key, xp=xp)
    if static.weighting is Gaussian:
        y = (per_length * largest_norm(operands.query, xp=xp)) ** 2  # ‖q‖²/dΣ∞
        return _gaussian_majorant(length, y, s, xp=xp)
    # at most |2c e q·fk|/x∞ ≤ εκ, κ² = c‖k‖²/Σ∞
    r = length * (1.0 + length) + s
    if static.weighting is Rational:
        return _power_majorant(zero, zero + 1.0, r, s, xp=xp)
    return _power_majorant(operands.dof, operands.dof + 1.0, r, s, xp=xp)


def _gaussian_majorant(length: Array, y: Array, s: Array, *, xp: Namespace) -> Majorant:
    """Return F = exp((u + ys)/(1 − s))/(1 − s)."""
    u = length * (2.0 * xp.sqrt(y) + length) + y * s
    rest = xp.where(s < 1.0, 1.0 - s, 1.0)
    d_log = u / rest**2 + s / rest
    d2_log = 2.0 * s * u / rest**3 + (s / rest) ** 2
    return Majorant(xp.exp(u / rest) / rest, d_log, d2_log, s < 1.0)


def _power_majorant(a: Array, b: Array, r: Array, s: Array, *, xp: Namespace) -> Majorant:
    """Return F = (1 − s)^{−a} (1 − r)^{−b}."""
    converges = xp.logical_and(s < 1.0, r < 1.0)
    s, r = (xp.where(converges, each, 0.0) for each in (s, r))
    value = (1.0 - s) ** -a * (1.0 - r) ** -b
    ratio_s, ratio_r = s / (1.0 - s), r / (1.0 - r)
    d_log = a * ratio_s + b * ratio_r
    return Majorant(value, d_log, a * ratio_s**2 + b * ratio_r**2, converges)


def largest_norm(x: Array, *, xp: Namespace) -> Array:
    """Return the largest norm of a token, (g, 1, 1), also where its square overflows."""
    unit = xp.max(abs(x), axis=(1, 2), keepdims=True)
    unit = xp.where(xp.logical_and(unit > 0.0, unit < xp.inf), unit, 1.0)
    square = xp.max(xp.sum((x / unit) ** 2, axis=-1, keepdims=True), axis=1, keepdims=True)
    return unit * xp.sqrt(square)
