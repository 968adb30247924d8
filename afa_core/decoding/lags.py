"""E and Σ of the lags of a step, in as few operations as derivatives allow (spec §2)."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, Parameter, is_number
from afa_core.model.covariance import decay_factor, phi1
from afa_core.model.sde import Noise


class Faded(NamedTuple):
    """E(Δ) = e^{−μΔ} of lags Δ ≥ 0, and G(Δ) = (1 − E)/2μ, of which V = σ²(1 + E) G."""

    decayed: Array
    half: Array

    def covariance(self, noise: Noise) -> Array:
        """Return Σ = V + η²E² + γ², equation (2.2), a sum of terms that are not negative."""
        driven = noise.process * self.half
        return (noise.measurement * self.decayed + driven) * self.decayed + (driven + noise.query)


def fade(lag: Array, decay: Parameter, *, sloped: bool, xp: Namespace) -> Faded:
    """Evaluate both; `decay` broadcasts against `lag`.

    Without derivatives 1 − E = −expm1(−μΔ) is divided by 2μ as it stands, which is right to
    rounding for every μ > 0; zero is taken for a μ so small that no lag tells the two apart.
    """
    lag = abs(lag)
    if sloped:
        return Faded(decay_factor(lag, decay, xp=xp), 0.5 * lag * phi1(-decay * lag, xp=xp))
    least = float(xp.finfo(lag.dtype).smallest_normal) ** 0.5
    positive: Any = max(decay, least) if is_number(decay) else xp.where(decay > least, decay, least)
    power = -positive * lag
    return Faded(xp.exp(power), xp.expm1(power) * (-0.5 / positive))
