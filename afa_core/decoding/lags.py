"""E(Δ) and Σ(Δ) of the lags of a step, in as few operations as gradients allow (spec §2)."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, Parameter, is_number
from afa_core.model.covariance import decay_factor, phi1
from afa_core.model.sde import Noise


class LagTerms(NamedTuple):
    """E(Δ) = e^{−μΔ} and V(Δ/2)/σ² = (1 − E)/2μ of lags Δ ≥ 0; V(Δ) = (1 + E) V(Δ/2)."""

    decayed: Array
    half_lag_variance: Array

    def covariance(self, noise: Noise) -> Array:
        """Return Σ = V + η²E² + γ², equation (2.2), as a sum of terms that are not negative."""
        driven = noise.process * self.half_lag_variance
        return (noise.measurement * self.decayed + driven) * self.decayed + (driven + noise.query)


def lag_terms(lag: Array, decay: Parameter, *, requires_grad: bool, xp: Namespace) -> LagTerms:
    """Evaluate both terms; `decay` broadcasts against `lag`.

    Where no gradient is taken, 1 − E = −expm1(−μΔ) is divided by 2μ directly, which is accurate to
    rounding for every μ > 0. A decay so small that no lag distinguishes it from zero is replaced
    by the square root of the smallest normal number.
    """
    lag = abs(lag)
    if requires_grad:
        return LagTerms(decay_factor(lag, decay, xp=xp), 0.5 * lag * phi1(-decay * lag, xp=xp))
    least = float(xp.finfo(lag.dtype).smallest_normal) ** 0.5
    positive: Any = max(decay, least) if is_number(decay) else xp.where(decay > least, decay, least)
    exponent = -positive * lag
    return LagTerms(xp.exp(exponent), xp.expm1(exponent) * (-0.5 / positive))
