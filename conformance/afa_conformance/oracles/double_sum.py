"""Equation (3.1) as a loop over pairs in 50 digits, each with its own matrix Σ_ij.

With an inverse temperature the information w_ij Σ_ij⁻¹ of a pair is raised to the power β, a
matrix power. Nothing is factored, expanded or normalised early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from afa_conformance.oracles.covariances import DIGITS, residual
from afa_conformance.oracles.influence import ScalarModel, influence
from afa_conformance.problems import DrawnProblem, at_index, completed, visibility
from afa_core import (
    DiagonalSDE,
    Gaussian,
    RadialTangential,
    RadialTangentialSDE,
    Rational,
    StudentT,
)


@dataclass(frozen=True)
class OracleResult:
    """Mean, precision and weights, as the library returns them, rounded from 50 digits."""

    mean: NDArray[Any]
    precision: Any
    weights: Any


def double_sum(problem: DrawnProblem) -> OracleResult:
    """Evaluate a problem at each leading index, rounded to double precision at the end."""
    whole = completed(problem)
    leading = whole.leading
    results = [_rounded(single(at_index(whole, index))) for index in np.ndindex(*leading)]

    def stack(*arrays: NDArray[Any]) -> NDArray[Any]:
        return np.reshape(np.stack(arrays), (*leading, *arrays[0].shape))

    def gather(name: str) -> Any:
        found = [getattr(each, name) for each in results]
        if isinstance(found[0], RadialTangential):
            return RadialTangential(*(stack(*component) for component in zip(*found, strict=True)))
        return stack(*found)

    return OracleResult(gather("mean"), gather("precision"), gather("weights"))


def single(problem: DrawnProblem) -> OracleResult:
    """Evaluate a problem without leading axes, to arrays of 50-digit numbers.

    Its arguments may themselves be 50-digit numbers.
    """
    with mp.workdps(DIGITS):
        return _PairLoop(completed(problem)).evaluate()


class _PairLoop:
    """One problem in mpmath numbers."""

    def __init__(self, problem: DrawnProblem) -> None:
        self.problem = problem
        self.d, self.dv = problem.query.shape[-1], problem.value.shape[-1]
        self.query, self.key, self.value = (
            _matrix(x) for x in (problem.query, problem.key, problem.value)
        )
        self.anchor = None if problem.anchor is None else _matrix(problem.anchor)
        self.visible = visibility(problem)
        self.per_mode = isinstance(problem.sde, DiagonalSDE)
        self.beta = number(problem.inverse_temperature)
        self.decays = _per_mode(problem.sde.decay, self.d)
        self.frequency = _per_mode(problem.sde.frequency, self.d)
        self.value_frequency = (
            self.frequency if self.per_mode else _per_mode(problem.sde.value_frequency, self.dv)
        )

    def evaluate(self) -> OracleResult:
        """Return mean, precision and weights."""
        n, m = self.visible.shape
        components = self.d if self.per_mode else 1 if self.anchor is None else 2
        mean = np.full((n, self.dv), mp.mpc(0), dtype=object)
        precision = np.full((components, n), mp.mpf(0), dtype=object)
        weights = np.full((components, n, m), mp.mpf(0), dtype=object)
        for i in range(n):
            keys = [j for j in range(m) if self.visible[i, j]]
            if not keys:
                continue
            robust_weights = {j: self._weight(self._distance(i, j)) for j in keys}
            for component in range(components):
                prior, variance, missing = self._prior(i, keys, component)
                excess, missing = 1 + max(-missing, 0), max(missing, 0)
                information = {j: prior[j] * robust_weights[j] for j in keys}
                found = (missing + sum(information.values())) / excess
                precision[component, i] = found / variance if variance else mp.inf
                normaliser = sum(each**self.beta for each in information.values())
                normaliser += missing**self.beta if missing else 0
                for j, each in information.items():
                    weights[component, i, j] = excess * each**self.beta / normaliser
            if self.problem.correlated:
                mean[i] = self._weighted_sum(i, weights[:, i, :])
            else:
                mean[i] = self._estimate(i, robust_weights)
        if self.per_mode:
            return OracleResult(mean, precision.T, np.moveaxis(weights, 0, -1))
        if self.anchor is not None:
            return OracleResult(mean, RadialTangential(*precision), RadialTangential(*weights))
        return OracleResult(mean, precision[0], weights[0])

    def _prior(self, i: int, keys: list[int], component: int) -> tuple[dict[int, Any], Any, Any]:
        """Return a_ij, the variance of the estimate with these weights, and 1 − Σ_j a_ij.

        For independent keys 1/Σ_ij, with neither.
        """
        if not self.problem.correlated:
            sigma = {j: self._variances(i, self._lag(i, j))[component] for j in keys}
            return {j: 1 / each for j, each in sigma.items()}, 1, 0
        times = [number(self.problem.key_times[j]) for j in keys]
        time, causal = number(self.problem.query_times[i]), self.problem.causal
        exact = influence(time, times, self._scalar_model(component), causal=causal)
        return dict(zip(keys, exact.weights, strict=True)), exact.variance, exact.missing

    def _scalar_model(self, component: int) -> ScalarModel:
        """Return decay and noise of a component."""
        sde = self.problem.sde
        if isinstance(sde, RadialTangentialSDE):
            noise = (sde.radial_noise, sde.tangential_noise)[component]
            return ScalarModel(*(number(x) for x in (sde.decay, *noise[:2])))
        by_mode = (_per_mode(x, self.d)[component] for x in sde.noise[:2])
        return ScalarModel(self.decays[component], *by_mode)

    def _weighted_sum(self, i: int, weights: NDArray[Any]) -> list[Any]:
        """Return Σ_j A_ij e^{ΛΔ_ij} v_j, A along the anchor and across it if there is one."""
        direction = None if self.anchor is None else self.anchor[i]
        total = mp.zeros(self.dv, 1)
        decays = self.decays if self.per_mode else _per_mode(self.problem.sde.decay, self.dv)
        for j, value in enumerate(self.value):
            if any(weights[:, j]):
                carried = self._propagated(i, j, decays, self.value_frequency, value)
                total += self._diagonal(list(weights[:, j]), self.dv, direction) * carried
        return list(total)

    def _estimate(self, i: int, robust_weights: dict[int, Any]) -> list[Any]:
        """Return x̂_i = (Σ_j M_ij)⁻¹ Σ_j M_ij e^{ΛΔ_ij} v_j with M_ij = (w_ij Σ_ij⁻¹)^β."""
        direction = None if self.anchor is None else self.anchor[i]
        total, numerator = mp.zeros(self.dv), mp.zeros(self.dv, 1)
        for j, weight in robust_weights.items():
            covariance = self._covariance(i, j, self.dv, direction)
            information = weight**self.beta * self._inverse_power(covariance)
            decays = self.decays if self.per_mode else _per_mode(self.problem.sde.decay, self.dv)
            total += information
            numerator += information * self._propagated(
                i, j, decays, self.value_frequency, self.value[j]
            )
        return list(mp.lu_solve(total, numerator))

    def _distance(self, i: int, j: int) -> Any:
        """Return m_ij = r†Σ⁻¹r."""
        propagated = self._propagated(i, j, self.decays, self.frequency, self.key[j])
        residual = mp.matrix(self.query[i]) - propagated
        covariance = self._covariance(i, j, self.d, self.query[i])
        return mp.re((residual.H * mp.lu_solve(covariance, residual))[0, 0])

    def _lag(self, i: int, j: int) -> Any:
        return number(self.problem.query_times[i]) - number(self.problem.key_times[j])

    def _propagated(
        self, i: int, j: int, decays: list[Any], frequencies: list[Any], x: list[Any]
    ) -> Any:
        """Return e^{ΛΔ_ij} x."""
        lag = self._lag(i, j)
        return mp.matrix(
            [
                mp.exp(-mu * abs(lag)) * mp.expj(omega * lag) * each
                for mu, omega, each in zip(decays, frequencies, x, strict=True)
            ]
        )

    def _variances(self, i: int, lag: Any) -> list[Any]:
        """Return Σ: one, or one a mode, or those along the anchor and across it."""
        sde, own = self.problem.sde, self.problem.query_variance
        if isinstance(sde, RadialTangentialSDE):
            noises = [
                [number(x) for x in each] for each in (sde.radial_noise, sde.tangential_noise)
            ]
            if own is not None:
                noises = [[*each[:2], number(x[i])] for each, x in zip(noises, own, strict=True)]
            return [residual(lag, number(sde.decay), noise) for noise in noises]
        noise = sde.noise if own is None else (*sde.noise[:2], own[i])
        by_mode = zip(*(_per_mode(x, self.d) for x in noise), strict=True)
        noises = [list(each) for each in by_mode]
        sigma = [residual(lag, mu, noise) for mu, noise in zip(self.decays, noises, strict=True)]
        return sigma if self.per_mode else sigma[:1]

    def _covariance(self, i: int, j: int, size: int, direction: list[Any] | None) -> Any:
        """Return the matrix Σ(Δ_ij), (size, size)."""
        return self._diagonal(self._variances(i, self._lag(i, j)), size, direction)

    def _diagonal(self, components: list[Any], size: int, direction: list[Any] | None) -> Any:
        """Return the matrix with these numbers in all modes, one a mode, or along and across."""
        if isinstance(self.problem.sde, RadialTangentialSDE):
            assert direction is not None
            radial, tangential = components
            parallel = _projector(direction)
            return tangential * (mp.eye(size) - parallel) + radial * parallel
        return mp.diag(components if self.per_mode else components * size)

    def _weight(self, distance: Any) -> Any:
        """Return w(m) of spec §3."""
        weighting, d = self.problem.weighting, self.d
        if isinstance(weighting, StudentT):
            dof = number(weighting.dof)
            return (1 + distance / (dof * d)) ** -(dof + 1)
        if isinstance(weighting, Rational):
            return 1 / (1 + distance / (number(weighting.dof) * d))
        return mp.exp(-distance / d) if isinstance(weighting, Gaussian) else mp.mpf(1)

    def _inverse_power(self, covariance: Any) -> Any:
        """Return Σ^{−β}."""
        if self.beta == 1:
            return mp.inverse(covariance)
        if self.anchor is None:
            return mp.diag([covariance[k, k] ** -self.beta for k in range(self.dv)])
        values, vectors = mp.eighe(covariance)
        return vectors * mp.diag([x**-self.beta for x in values]) * vectors.H


def number(x: Any) -> Any:
    """Return a real number of any kind in mpmath, without rounding it."""
    return mp.mpf(x if isinstance(x, mp.mpf) else np.asarray(x).item())


def _matrix(x: Any) -> list[list[Any]]:
    return [[mp.mpc(each) for each in row] for row in np.asarray(x).astype(object)]


def _per_mode(x: Any, size: int) -> list[Any]:
    """Return a parameter as one number a mode."""
    return [number(each) for each in np.broadcast_to(np.asarray(x, dtype=object), (size,))]


def _projector(direction: list[Any]) -> Any:
    """Return u u† for u along the direction, zero if it is zero."""
    column = mp.matrix(direction)
    length2 = mp.re((column.H * column)[0, 0])
    return column * column.H / length2 if length2 else mp.zeros(len(direction))


def _rounded(exact: OracleResult) -> OracleResult:
    def real(x: Any) -> Any:
        if isinstance(x, RadialTangential):
            return RadialTangential(*(real(component) for component in x))
        return x.astype(np.float64)

    return OracleResult(
        exact.mean.astype(np.complex128), real(exact.precision), real(exact.weights)
    )
