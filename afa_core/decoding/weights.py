"""From residuals and covariances of pairs to their weights, below the peak of a row (spec §3)."""

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
from afa_core._array.log_sum_exp import finite_peak
from afa_core.decoding.influence import Influence
from afa_core.model.weighting import (
    Weighting,
    broadcast_weighting,
    integer_power,
    integer_power_of,
)
from afa_core.reference.softmax import hide


class PairWeights(NamedTuple):
    """Weights exp(βL − peak) of pairs, with the peaks and the sums of their rows."""

    weight: Array  # (..., n, m), or (..., n, m, d) per mode
    peak: Array  # (..., n, 1), or (..., n, 1, d) per mode; −∞ for a row without visible keys
    total: Array  # Σ_j exp(βL_j − peak), of the shape of the peak
    precision: Array  # Σ_j exp(L_j), of the shape of the peak


class WeightSpec(NamedTuple):
    """The robust weight, the inverse temperature β and the number of modes."""

    weighting: Weighting
    inverse_temperature: Parameter
    modes: int

    @property
    def power(self) -> int:
        """The p of a weight Σ^{p−1} (Σ + ρ/(ν_s d))^{−p}, 0 where it takes a logarithm."""
        return integer_power_of(self.weighting, self.inverse_temperature)

    def log_weight(self, distance: Array) -> Array:
        """Return log w of squared Mahalanobis distances (..., n, m)."""
        return broadcast_weighting(self.weighting, 2).log_weight(distance, self.modes)


def weights_from_residuals(
    residual2: Array,
    covariance: Array,
    influence: Influence | None,
    visible: Array | None,
    spec: WeightSpec,
    *,
    xp: Namespace,
) -> PairWeights:
    """Return the weights of pairs with squared residuals ρ and one Σ for all modes, (..., n, m).

    A residual that rounding has made negative counts as zero.
    """
    if spec.power and influence is None:
        return _power_weights(residual2, covariance, visible, spec, xp=xp)
    log_weight = spec.log_weight(positive_part(residual2, xp=xp) / covariance)
    return prior_weighted(log_weight, covariance, influence, visible, spec, axis=-1, xp=xp)


def prior_weighted(
    log_weight: Array,
    covariance: Array,
    influence: Influence | None,
    visible: Array | None,
    spec: WeightSpec,
    *,
    axis: int,
    xp: Namespace,
) -> PairWeights:
    """Return the weights of L = log w − log Σ, or log w + log a_ij if keys are correlated.

    Arrays are (..., n, m) or (..., n, m, d), with the keys along `axis`.
    """
    if influence is None:
        logits = log_weight - xp.log(covariance)
        return weights_from_logits(logits, visible, spec, axis=axis, xp=xp)
    counts = xp.logical_not(influence.log_weight == -xp.inf)  # a gain of zero hides a key
    logits = log_weight + xp.where(counts, influence.log_weight, 0.0)
    visible = counts if visible is None else xp.logical_and(visible, counts)
    weights = weights_from_logits(logits, visible, spec, axis=axis, xp=xp)
    return weights._replace(precision=influence.precision(weights.precision, xp=xp))


def weights_from_logits(
    logits: Array, visible: Array | None, spec: WeightSpec, *, axis: int, xp: Namespace
) -> PairWeights:
    """Return the weights of logits L, (..., n, m) or (..., n, m, d), with the keys along `axis`."""
    beta = append_axes(spec.inverse_temperature, 1 - axis)
    scaled_logits = hide(beta * logits, visible, xp=xp)
    peak = xp.max(scaled_logits, axis=axis, keepdims=True)
    weight = xp.exp(scaled_logits - finite_peak(peak, xp=xp))
    total = xp.sum(weight, axis=axis, keepdims=True)
    if is_number(beta) and beta == 1.0:
        precision = total * xp.exp(peak)
    else:
        precision = xp.sum(xp.exp(hide(logits, visible, xp=xp)), axis=axis, keepdims=True)
    return PairWeights(weight, peak, total, precision)


def _power_weights(
    residual2: Array, covariance: Array, visible: Array | None, spec: WeightSpec, *, xp: Namespace
) -> PairWeights:
    """Return (Σ/x)^{p−1}/x with x = Σ + ρ/(ν_s d), relative to the largest Σ/x of each row."""
    scale = 1.0 / (append_axes(cast(Any, spec.weighting).dof, 2) * spec.modes)
    inverse = 1.0 / xp.maximum(covariance + scale * residual2, covariance)
    if visible is not None:
        inverse = xp.where(visible, inverse, 0.0)
    if spec.power == 1:
        total = xp.sum(inverse, axis=-1, keepdims=True)
        peak = xp.where(total > 0.0, xp.zeros_like(total), -xp.inf)
        return PairWeights(inverse, peak, total, total)
    ratio = covariance * inverse
    largest = xp.max(ratio, axis=-1, keepdims=True)
    safe = xp.where(largest > 0.0, largest, 1.0)
    weight = integer_power(ratio / safe, spec.power - 1) * inverse
    total = xp.sum(weight, axis=-1, keepdims=True)
    peak = xp.where(largest > 0.0, (spec.power - 1) * xp.log(safe), -xp.inf)
    return PairWeights(weight, peak, total, total * xp.exp(peak))
