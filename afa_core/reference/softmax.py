"""Masked softmax, and sums that ignore hidden values."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, Parameter
from afa_core._array.log_sum_exp import finite_peak
from afa_core._array.products import matmul


def hide(logits: Array, visible: Array | None, *, xp: Namespace) -> Array:
    """Give hidden pairs the logit −∞."""
    return logits if visible is None else xp.where(visible, logits, -xp.inf)


def softmax(logits: Array, inverse_temperature: Parameter, *, axis: int, xp: Namespace) -> Array:
    """Return softmax(βL) along `axis`; a row that is −∞ throughout gives zeros."""
    visible = logits != -xp.inf
    scaled = inverse_temperature * xp.where(visible, logits, 0.0)
    peak = xp.max(xp.where(visible, scaled, -xp.inf), axis=axis, keepdims=True)
    peak = finite_peak(peak, xp=xp)
    shifted = xp.where(visible, scaled - peak, 0.0)
    weight = xp.where(visible, xp.exp(shifted), 0.0)
    total = xp.sum(weight, axis=axis, keepdims=True)
    return weight / xp.where(total > 0.0, total, 1.0)


def weighted_sum(weight: Array, values: Array, visible: Array | None, *, xp: Namespace) -> Array:
    """Return Σ_j weight_ij values_j, (..., n, c); hidden values are ignored, even NaN or inf."""
    if visible is None:
        return matmul(weight, values, xp=xp)
    finite = xp.isfinite(values)
    total = matmul(weight, xp.where(finite, values, 0.0), xp=xp)
    bad = xp.astype(xp.logical_not(finite), weight.dtype)
    nonfinite = matmul(xp.astype(visible, weight.dtype), bad, xp=xp)
    return xp.where(nonfinite > 0.0, xp.nan, total)
