"""The scalar differential Lyapunov equation in closed form (spec §2)."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, Parameter


def phi1(x: Array, *, xp: Namespace) -> Array:
    """Return φ₁(x) = expm1(x)/x, φ₁(0) = 1, whose derivatives are correct through 0.

    Each branch is evaluated on arguments safe for it, so that reverse-mode derivatives stay
    finite. Below |x| = 1e-2 the Taylor polynomial and its derivative are exact to double
    precision.
    """
    small = abs(x) < 1e-2
    t = xp.where(small, x, 0.0)
    series = 1 + t / 2 * (1 + t / 3 * (1 + t / 4 * (1 + t / 5 * (1 + t / 6 * (1 + t / 7)))))
    y = xp.where(small, 1.0, x)
    return xp.where(small, series, xp.expm1(y) / y)


def decay_factor(lag: Array, decay: Parameter, *, xp: Namespace) -> Array:
    """Return E(Δ) = exp(−μ|Δ|), the decay factor of equation (2.2)."""
    return xp.exp(-decay * abs(lag))


def propagated_covariance(
    lag: Array, decay: Parameter, process: Parameter, *, xp: Namespace
) -> Array:
    """Return V(|Δ|) = σ²|Δ| φ₁(−2μ|Δ|), equation (2.1)."""
    elapsed = abs(lag)
    return process * elapsed * phi1(-2.0 * decay * elapsed, xp=xp)


def residual_covariance(
    lag: Array,
    decay: Parameter,
    process: Parameter,
    measurement: Parameter,
    query: Parameter,
    *,
    xp: Namespace,
) -> Array:
    """Return Σ(Δ) = V(|Δ|) + η²E² + γ², equation (2.2)."""
    propagated = propagated_covariance(lag, decay, process, xp=xp)
    return propagated + measurement * xp.exp(-2.0 * decay * abs(lag)) + query


def phi1_derivative(x: Array, *, xp: Namespace) -> Array:
    """Return φ₁'(x) = (x eˣ − expm1(x))/x², ½ at 0."""
    small = abs(x) < 0.25
    t = xp.where(small, x, 0.0)
    series = xp.ones_like(t)
    for k in range(10, 0, -1):  # Σ_k k x^{k−1}/(k+1)!, nested
        series = 1.0 + (k + 1) / (k * (k + 2)) * t * series
    series = 0.5 * series
    y = xp.where(small, 1.0, x)
    return xp.where(small, series, (y * xp.exp(y) - xp.expm1(y)) / (y * y))
