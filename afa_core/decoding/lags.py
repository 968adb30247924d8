"""E and V of the lags of a step, in as few operations as derivatives allow (spec §2)."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core.arrays import Array, Namespace, Parameter, is_number
from afa_core.covariance import decay_factor, phi1
from afa_core.sde import Noise


class Faded(NamedTuple):
    """E(Δ) = e^{−μΔ} and V(Δ)/σ² = Δ φ₁(−2μΔ) of lags Δ ≥ 0."""

    decayed: Array
    walk: Array

    def covariance(self, noise: Noise) -> Array:
        """Return Σ = σ² V/σ² + η²E² + γ², equation (2.2)."""
        process, measurement, query = noise
        return process * self.walk + measurement * self.decayed**2 + query


def fade(lag: Array, decay: Parameter, *, sloped: bool, xp: Namespace) -> Faded:
    """Evaluate both; `decay` broadcasts against `lag`.

    Without derivatives V/σ² = (1 − E)(1 + E)/2μ with 1 − E = −expm1(−μΔ) is right to rounding for
    every μ > 0; zero is taken for a μ so small that μΔ is below rounding at any lag.
    """
    lag = abs(lag)
    if sloped:
        return Faded(decay_factor(lag, decay, xp=xp), lag * phi1(-2.0 * decay * lag, xp=xp))
    least = float(xp.finfo(lag.dtype).smallest_normal) ** 0.5
    positive: Any = max(decay, least) if is_number(decay) else xp.where(decay > least, decay, least)
    power = -positive * lag
    forgotten = xp.expm1(power) * (-0.5 / positive)
    decayed = xp.exp(power)
    return Faded(decayed, forgotten + forgotten * decayed)
