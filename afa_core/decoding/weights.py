"""From residuals and covariances of pairs to what their keys leave behind (spec §3, §9)."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    is_number,
    positive_part,
)
from afa_core.model.weighting import Weighting, broadcast_weighting, power_of
from afa_core.reference.softmax import hide


class Weights(NamedTuple):
    """Weights exp(βL − peak) of pairs with the peaks and sums of their rows."""

    pairs: Array  # (..., n, m), or (..., n, m, d) per mode
    peak: Array  # (..., n, 1), or (..., n, d) per mode; −∞ where no key is seen
    total: Array
    precision: Array  # Σ_j exp(L), of the shape of the peak


class Law(NamedTuple):
    """The robust weight and the temperature."""

    weighting: Weighting
    inverse_temperature: Parameter
    modes: int

    @property
    def power(self) -> int:
        """The p of a weight Σ^{p−1} (Σ + ρ/(ν_s d))^{−p}, 0 where it takes a logarithm."""
        return power_of(self.weighting, self.inverse_temperature)

    def log_weight(self, distance: Array) -> Array:
        """Return log w of Mahalanobis distances (..., n, m)."""
        return broadcast_weighting(self.weighting, 2).log_weight(distance, self.modes)


def by_residual(
    residual2: Array, sigma: Array, visible: Array | None, law: Law, *, xp: Namespace
) -> Weights:
    """Return the weights of pairs (..., n, m) with one Σ for all modes, ρ up to its rounding."""
    if law.power:
        return _by_power(residual2, sigma, visible, law, xp=xp)
    log_weight = law.log_weight(positive_part(residual2, xp=xp) / sigma)
    return by_logit(log_weight - xp.log(sigma), visible, law, axis=-1, xp=xp)


def by_logit(logit: Array, visible: Array | None, law: Law, *, axis: int, xp: Namespace) -> Weights:
    """Return the weights of logits L, (..., n, m) or per mode; keys lie along `axis`."""
    beta = append_axes(law.inverse_temperature, 1 - axis)
    cooled = hide(beta * logit, visible, xp=xp)
    peak = xp.max(cooled, axis=axis, keepdims=True)
    pairs = xp.exp(cooled - xp.where(peak == -xp.inf, 0.0, peak))
    total = xp.sum(pairs, axis=axis, keepdims=True)
    if is_number(beta) and beta == 1.0:
        precision = total * xp.exp(peak)
    else:
        precision = xp.sum(xp.exp(hide(logit, visible, xp=xp)), axis=axis, keepdims=True)
    return Weights(pairs, peak, total, precision)


def _by_power(
    residual2: Array, sigma: Array, visible: Array | None, law: Law, *, xp: Namespace
) -> Weights:
    """Return (Σ/x)^{p−1}/x with x = Σ + ρ/(ν_s d), below the greatest Σ/x of each row."""
    scale = 1.0 / (append_axes(cast(Any, law.weighting).dof, 2) * law.modes)
    inverse = 1.0 / xp.maximum(sigma + scale * residual2, sigma)
    if visible is not None:
        inverse = xp.where(visible, inverse, 0.0)
    if law.power == 1:
        total = xp.sum(inverse, axis=-1, keepdims=True)
        peak = xp.where(total > 0.0, xp.zeros_like(total), -xp.inf)
        return Weights(inverse, peak, total, total)
    ratio = sigma * inverse
    top = xp.max(ratio, axis=-1, keepdims=True)
    safe = xp.where(top > 0.0, top, 1.0)
    pairs = _raised(ratio / safe, law.power - 1) * inverse
    total = xp.sum(pairs, axis=-1, keepdims=True)
    peak = xp.where(top > 0.0, (law.power - 1) * xp.log(safe), -xp.inf)
    return Weights(pairs, peak, total, total * xp.exp(peak))


def _raised(x: Array, power: int) -> Array:
    """Return x^k by squaring: libraries take a logarithm."""
    if power == 1:
        return x
    half = _raised(x * x, power // 2)
    return half * x if power % 2 else half
