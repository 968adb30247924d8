"""Equation (3.1) by arrays: the residual as it stands, in the widest numbers that NumPy has.

For sizes that a loop in 50 digits cannot reach. Nothing is expanded or rotated token by token:
every pair has its own e^{ΛΔ_ij}, residual and Σ_ij, in memory that grows as n m d.
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
        return _Arrays(completed(problem)).evaluate()


class _Arrays:
    """One problem in arrays (..., n, m, modes), of length 1 where all modes are alike."""

    def __init__(self, p: DrawnProblem) -> None:
        self.p = p
        self.d = p.modes
        self.per_mode = isinstance(p.sde, DiagonalSDE)
        self.directed = isinstance(p.sde, RadialTangentialSDE)
        self.seen = np.asarray(visibility(p))[..., None]
        lag = np.asarray(p.query_times, dtype=WIDE)[..., :, None, None]
        lag = lag - np.asarray(p.key_times, dtype=WIDE)[..., None, :, None]
        self.lag = np.where(self.seen, lag, 0.0)
        self.query = np.asarray(p.query, dtype=WIDE_COMPLEX)[..., :, None, :]

    def evaluate(self) -> OracleResult:
        robust = self._log_weight(self._distance())
        sides = [robust - np.log(each) for each in self._variances()]
        logits = [np.where(self.seen, each, -np.inf) for each in sides]
        weights = [_softmax(self._parameter(self.p.inverse_temperature) * each) for each in logits]
        precisions = [_sum_of_exponentials(each)[..., 0, :] for each in logits]
        turns = self.p.sde.frequency if self.per_mode else self.p.sde.value_frequency
        carried = self._carry(self.p.value, turns)
        sums = [np.sum(each * carried, axis=-2) for each in weights]
        return self._gathered(self._joined(sums), precisions, weights)

    def _distance(self) -> NDArray[Any]:
        """Return m_ij = r†Σ⁻¹r, (..., n, m, 1)."""
        gap = np.where(self.seen, self.query, 0.0)
        gap = gap - self._carry(self.p.key, self.p.sde.frequency)
        if not self.directed:
            (variance,) = self._variances()
            return np.asarray(np.sum(_square(gap) / variance, axis=-1, keepdims=True))
        radial, tangential = self._variances()
        direction = _normalised(np.where(self.seen, self.query, 0.0))
        along = np.sum(direction.conj() * gap, axis=-1, keepdims=True)
        across = np.sum(_square(gap - along * direction), axis=-1, keepdims=True)
        return np.asarray(across / tangential + _square(along) / radial)

    def _carry(self, tokens: Any, turns: Any) -> NDArray[Any]:
        """Return e^{−μ|Δ| + iωΔ} x_j for each pair, zero for hidden ones."""
        x = np.asarray(tokens, dtype=WIDE_COMPLEX)[..., None, :, :]
        angle = self._parameter(turns, modes=True) * self.lag
        decay = np.exp(-self._own(self.p.sde.decay) * np.abs(self.lag))
        return np.where(self.seen, decay * (np.cos(angle) + 1j * np.sin(angle)) * x, 0.0)

    def _variances(self) -> list[NDArray[Any]]:
        """Return Σ; or that along the anchor and that across it."""
        sde = self.p.sde
        noises = (sde.radial_noise, sde.tangential_noise) if self.directed else (sde.noise,)
        return [self._variance(each) for each in noises]

    def _variance(self, noise: Any) -> NDArray[Any]:
        """Return Σ(Δ) by (2.2), with V = σ²(1 − e^{−2μ|Δ|})/2μ, or σ²|Δ| at μ = 0."""
        span, rate = np.abs(self.lag), 2.0 * self._own(self.p.sde.decay)
        still = rate == 0.0
        gained = np.where(still, span, -np.expm1(-rate * span) / np.where(still, 1.0, rate))
        process, measurement, query = (self._own(each) for each in noise)
        return np.asarray(process * gained + measurement * np.exp(-rate * span) + query)

    def _log_weight(self, distance: NDArray[Any]) -> NDArray[Any]:
        """Return log w(m) of spec §3."""
        weighting, d = self.p.weighting, self.d
        if isinstance(weighting, StudentT | Rational):
            dof = self._parameter(weighting.dof)
            power = dof + 1.0 if isinstance(weighting, StudentT) else 1.0
            return np.asarray(-power * np.log1p(distance / (dof * d)))
        return -distance / d if isinstance(weighting, Gaussian) else 0.0 * distance

    def _joined(self, sums: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the mean: one sum, or two that the anchor's projectors join."""
        if not self.directed:
            return sums[0]
        direction = _normalised(np.asarray(self.p.anchor, dtype=WIDE_COMPLEX))
        along = [
            direction * np.sum(direction.conj() * each, axis=-1, keepdims=True) for each in sums
        ]
        return np.asarray(sums[1] - along[1] + along[0])

    def _gathered(
        self, mean: NDArray[Any], precisions: list[NDArray[Any]], weights: list[NDArray[Any]]
    ) -> OracleResult:
        leading = self.p.leading
        n, m = self.p.query.shape[-2], self.p.key.shape[-2]
        modes = (self.d,) if self.per_mode else ()

        def side(x: NDArray[Any], *core: int) -> NDArray[Any]:
            x = x if self.per_mode else x[..., 0]
            return np.broadcast_to(x, (*leading, *core, *modes)).astype(np.float64)

        found = [side(each, n) for each in precisions], [side(each, n, m) for each in weights]
        pair = (RadialTangential(*each) if self.directed else each[0] for each in found)
        rounded = np.broadcast_to(mean, (*leading, n, self.p.value_modes)).astype(np.complex128)
        return OracleResult(rounded, *pair)

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
