"""Equation (3.1) in arrays of the widest floating-point numbers of NumPy.

For sizes beyond a loop in 50 digits. Every pair has its own e^{ΛΔ_ij}, residual and Σ_ij, and no
residual is expanded; memory grows as n m d.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.oracles.double_sum import OracleResult
from afa_conformance.problems import DrawnProblem, completed, visibility
from afa_core import (
    DiagonalSDE,
    Gaussian,
    RadialTangential,
    RadialTangentialSDE,
    Rational,
    StudentT,
)

WIDE, WIDE_COMPLEX = np.longdouble, np.clongdouble


def direct(problem: DrawnProblem) -> OracleResult:
    """Evaluate a problem with all its leading axes, rounded to double precision at the end."""
    with np.errstate(over="ignore", under="ignore"):
        return _PairArrays(completed(problem)).evaluate()


class _PairArrays:
    """One problem in arrays (..., n, m, modes), of length 1 where all modes are equal."""

    def __init__(self, problem: DrawnProblem) -> None:
        self.problem = problem
        self.d = problem.modes
        self.per_mode = isinstance(problem.sde, DiagonalSDE)
        self.directional = isinstance(problem.sde, RadialTangentialSDE)
        self.visible = np.asarray(visibility(problem))[..., None]
        lag = np.asarray(problem.query_times, dtype=WIDE)[..., :, None, None]
        lag = lag - np.asarray(problem.key_times, dtype=WIDE)[..., None, :, None]
        self.lag = np.where(self.visible, lag, 0.0)
        self.query = np.asarray(problem.query, dtype=WIDE_COMPLEX)[..., :, None, :]

    def evaluate(self) -> OracleResult:
        """Return mean, precision and weights."""
        log_weight = self._log_weight(self._distance())
        by_component = [log_weight - np.log(each) for each in self._variances()]
        weights = [
            _softmax(self._hidden(self._parameter(self.problem.inverse_temperature) * each))
            for each in by_component
        ]
        precisions = [_sum_of_exponentials(self._hidden(each))[..., 0, :] for each in by_component]
        sde = self.problem.sde
        frequency = sde.frequency if self.per_mode else sde.value_frequency
        propagated = self._propagated(self.problem.value, frequency)
        means = [np.sum(each * propagated, axis=-2) for each in weights]
        return self._result(self._combined(means), precisions, weights)

    def _hidden(self, logit: NDArray[Any]) -> NDArray[Any]:
        """Return the logits, −∞ for hidden pairs."""
        return np.where(self.visible, logit, -np.inf)

    def _distance(self) -> NDArray[Any]:
        """Return m_ij = r†Σ⁻¹r, (..., n, m, 1)."""
        residual = np.where(self.visible, self.query, 0.0)
        residual = residual - self._propagated(self.problem.key, self.problem.sde.frequency)
        if not self.directional:
            (variance,) = self._variances()
            return np.asarray(np.sum(_square(residual) / variance, axis=-1, keepdims=True))
        radial, tangential = self._variances()
        direction = _normalised(np.where(self.visible, self.query, 0.0))
        along = np.sum(direction.conj() * residual, axis=-1, keepdims=True)
        across = np.sum(_square(residual - along * direction), axis=-1, keepdims=True)
        return np.asarray(across / tangential + _square(along) / radial)

    def _propagated(self, tokens: Any, frequency: Any) -> NDArray[Any]:
        """Return e^{−μ|Δ| + iωΔ} x_j for each pair, zero for hidden ones."""
        x = np.asarray(tokens, dtype=WIDE_COMPLEX)[..., None, :, :]
        angle = self._parameter(frequency, modes=True) * self.lag
        decay = np.exp(-self._own(self.problem.sde.decay) * np.abs(self.lag))
        return np.where(self.visible, decay * (np.cos(angle) + 1j * np.sin(angle)) * x, 0.0)

    def _variances(self) -> list[NDArray[Any]]:
        """Return Σ, or that along the anchor and that across it."""
        sde, own = self.problem.sde, self.problem.query_variance
        noises = (sde.radial_noise, sde.tangential_noise) if self.directional else (sde.noise,)
        given = own if isinstance(own, RadialTangential) else (own,) * len(noises)
        return [self._variance(*each) for each in zip(noises, given, strict=True)]

    def _variance(self, noise: Any, own: Any) -> NDArray[Any]:
        """Return Σ(Δ) by (2.2), with V = σ²(1 − e^{−2μ|Δ|})/2μ, or σ²|Δ| at μ = 0."""
        span, rate = np.abs(self.lag), 2.0 * self._own(self.problem.sde.decay)
        undamped = rate == 0.0
        safe = np.where(undamped, 1.0, rate)
        variance = np.where(undamped, span, -np.expm1(-rate * span) / safe)
        process, measurement, query = (self._own(each) for each in noise)
        if own is not None:  # γ² of each query
            own = np.asarray(own, dtype=WIDE)
            query = own[..., :, None, :] if self.per_mode else own[..., :, None, None]
        return np.asarray(process * variance + measurement * np.exp(-rate * span) + query)

    def _log_weight(self, distance: NDArray[Any]) -> NDArray[Any]:
        """Return log w(m) of spec §3."""
        weighting, d = self.problem.weighting, self.d
        if isinstance(weighting, StudentT | Rational):
            dof = self._parameter(weighting.dof)
            power = dof + 1.0 if isinstance(weighting, StudentT) else 1.0
            return np.asarray(-power * np.log1p(distance / (dof * d)))
        return -distance / d if isinstance(weighting, Gaussian) else 0.0 * distance

    def _combined(self, means: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the mean: the only one, or two combined by the projectors of the anchor."""
        if not self.directional:
            return means[0]
        direction = _normalised(np.asarray(self.problem.anchor, dtype=WIDE_COMPLEX))
        along = [
            direction * np.sum(direction.conj() * each, axis=-1, keepdims=True) for each in means
        ]
        return np.asarray(means[1] - along[1] + along[0])

    def _result(
        self, mean: NDArray[Any], precisions: list[NDArray[Any]], weights: list[NDArray[Any]]
    ) -> OracleResult:
        leading = self.problem.leading
        n, m = self.problem.query.shape[-2], self.problem.key.shape[-2]
        modes = (self.d,) if self.per_mode else ()

        def component(x: NDArray[Any], *core: int) -> NDArray[Any]:
            x = x if self.per_mode else x[..., 0]
            return np.broadcast_to(x, (*leading, *core, *modes)).astype(np.float64)

        found = (
            [component(each, n) for each in precisions],
            [component(each, n, m) for each in weights],
        )
        pair = (RadialTangential(*each) if self.directional else each[0] for each in found)
        rounded = mean.astype(np.complex128)
        shape = (*leading, n, self.problem.value_modes)
        return OracleResult(np.broadcast_to(rounded, shape), *pair)

    def _own(self, x: Any) -> NDArray[Any]:
        return self._parameter(x, modes=self.per_mode)

    def _parameter(self, x: Any, *, modes: bool = False) -> NDArray[Any]:
        """Return a parameter (...), or (..., d) per mode, against (..., n, m, modes)."""
        x = np.asarray(x, dtype=WIDE)
        if not x.ndim:
            return np.asarray(x)
        return np.asarray(x[..., None, None, :] if modes else x[..., None, None, None])


def _square(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x.real**2 + x.imag**2)


def _normalised(x: NDArray[Any]) -> NDArray[Any]:
    """Return x/‖x‖, zero where x is."""
    length = np.sqrt(np.sum(_square(x), axis=-1, keepdims=True))
    return np.asarray(x / np.where(length > 0.0, length, 1.0))


def _largest(logit: NDArray[Any]) -> NDArray[Any]:
    """Return the largest of each row, 0 for a row without any."""
    largest = np.max(logit, axis=-2, keepdims=True, initial=-np.inf)
    return np.where(np.isfinite(largest), largest, 0.0)


def _sum_of_exponentials(logit: NDArray[Any]) -> NDArray[Any]:
    largest = _largest(logit)
    return np.asarray(np.exp(largest) * np.sum(np.exp(logit - largest), axis=-2, keepdims=True))


def _softmax(logit: NDArray[Any]) -> NDArray[Any]:
    terms = np.exp(logit - _largest(logit))
    total = np.sum(terms, axis=-2, keepdims=True)
    return np.asarray(terms / np.where(total > 0.0, total, 1.0))
