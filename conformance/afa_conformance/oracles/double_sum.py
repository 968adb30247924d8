"""Equation (3.1) as it stands: a loop over pairs in 50 digits, each with its own matrix Σ_ij.

With an inverse temperature the information w_ij Σ_ij⁻¹ of a pair is raised to the power β, a
matrix power. Nothing is factored, expanded or normalised before it has to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from afa_conformance.oracles.covariances import DIGITS, residual
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
    """Evaluate every leading index of a problem by itself."""
    whole = completed(problem)
    leading = whole.leading
    each = [_rounded(single(at_index(whole, index))) for index in np.ndindex(*leading)]

    def stack(*arrays: NDArray[Any]) -> NDArray[Any]:
        return np.reshape(np.stack(arrays), (*leading, *arrays[0].shape))

    def gather(name: str) -> Any:
        found = [getattr(one, name) for one in each]
        if isinstance(found[0], RadialTangential):
            return RadialTangential(*(stack(*side) for side in zip(*found, strict=True)))
        return stack(*found)

    return OracleResult(gather("mean"), gather("precision"), gather("weights"))


def single(problem: DrawnProblem) -> OracleResult:
    """Evaluate a problem without leading axes, in 50-digit numbers (arrays of objects).

    Arguments may themselves be 50-digit numbers.
    """
    with mp.workdps(DIGITS):
        return _Pairs(completed(problem)).evaluate()


class _Pairs:
    """One problem in mpmath numbers."""

    def __init__(self, p: DrawnProblem) -> None:
        self.p = p
        self.d, self.dv = p.query.shape[-1], p.value.shape[-1]
        self.query, self.key, self.value = (_matrix(x) for x in (p.query, p.key, p.value))
        self.anchor = None if p.anchor is None else _matrix(p.anchor)
        self.seen = visibility(p)
        self.per_mode = isinstance(p.sde, DiagonalSDE)
        self.beta = number(p.inverse_temperature)
        self.decays = _spread(p.sde.decay, self.d)
        self.turns = _spread(p.sde.frequency, self.d)
        self.value_turns = self.turns if self.per_mode else _spread(p.sde.value_frequency, self.dv)

    def evaluate(self) -> OracleResult:
        n, m = self.seen.shape
        sides = self.d if self.per_mode else 1 if self.anchor is None else 2
        mean = np.full((n, self.dv), mp.mpc(0), dtype=object)
        precision = np.full((sides, n), mp.mpf(0), dtype=object)
        weights = np.full((sides, n, m), mp.mpf(0), dtype=object)
        for i in range(n):
            keys = [j for j in range(m) if self.seen[i, j]]
            if not keys:
                continue
            robust = {j: self._weight(self._distance(i, j)) for j in keys}
            mean[i] = self._estimate(i, robust)
            for side in range(sides):
                likelihood = {j: robust[j] / self._variances(self._lag(i, j))[side] for j in keys}
                precision[side, i] = sum(likelihood.values())
                normaliser = sum(each**self.beta for each in likelihood.values())
                for j, each in likelihood.items():
                    weights[side, i, j] = each**self.beta / normaliser
        if self.per_mode:
            return OracleResult(mean, precision.T, np.moveaxis(weights, 0, -1))
        if self.anchor is not None:
            return OracleResult(mean, RadialTangential(*precision), RadialTangential(*weights))
        return OracleResult(mean, precision[0], weights[0])

    def _estimate(self, i: int, robust: dict[int, Any]) -> list[Any]:
        """Return x̂_i = (Σ_j M_ij)⁻¹ Σ_j M_ij e^{ΛΔ_ij} v_j with M_ij = (w_ij Σ_ij⁻¹)^β."""
        direction = None if self.anchor is None else self.anchor[i]
        total, numerator = mp.zeros(self.dv), mp.zeros(self.dv, 1)
        for j, weight in robust.items():
            covariance = self._covariance(self._lag(i, j), self.dv, direction)
            information = weight**self.beta * self._inverse_power(covariance)
            decays = self.decays if self.per_mode else _spread(self.p.sde.decay, self.dv)
            total += information
            numerator += information * self._carry(i, j, decays, self.value_turns, self.value[j])
        return list(mp.lu_solve(total, numerator))

    def _distance(self, i: int, j: int) -> Any:
        """Return m_ij = r†Σ⁻¹r."""
        moved = self._carry(i, j, self.decays, self.turns, self.key[j])
        gap = mp.matrix(self.query[i]) - moved
        covariance = self._covariance(self._lag(i, j), self.d, self.query[i])
        return mp.re((gap.H * mp.lu_solve(covariance, gap))[0, 0])

    def _lag(self, i: int, j: int) -> Any:
        return number(self.p.query_times[i]) - number(self.p.key_times[j])

    def _carry(self, i: int, j: int, decays: list[Any], turns: list[Any], x: list[Any]) -> Any:
        lag = self._lag(i, j)
        return mp.matrix(
            [
                mp.exp(-mu * abs(lag)) * mp.expj(turn * lag) * each
                for mu, turn, each in zip(decays, turns, x, strict=True)
            ]
        )

    def _variances(self, lag: Any) -> list[Any]:
        """Return Σ; or Σ of each mode; or Σ along the anchor and Σ across it."""
        sde = self.p.sde
        if isinstance(sde, RadialTangentialSDE):
            noises = [
                [number(x) for x in each] for each in (sde.radial_noise, sde.tangential_noise)
            ]
            return [residual(lag, number(sde.decay), noise) for noise in noises]
        noises = [list(each) for each in zip(*(_spread(x, self.d) for x in sde.noise), strict=True)]
        sigma = [residual(lag, mu, noise) for mu, noise in zip(self.decays, noises, strict=True)]
        return sigma if self.per_mode else sigma[:1]

    def _covariance(self, lag: Any, size: int, direction: list[Any] | None) -> Any:
        """Return the matrix Σ(Δ), (size, size)."""
        variances = self._variances(lag)
        if isinstance(self.p.sde, RadialTangentialSDE):
            assert direction is not None
            radial, tangential = variances
            along = _projector(direction)
            return tangential * (mp.eye(size) - along) + radial * along
        return mp.diag(variances if self.per_mode else variances * size)

    def _weight(self, distance: Any) -> Any:
        """Return w(m) of spec §3."""
        weighting, d = self.p.weighting, self.d
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


def _spread(x: Any, size: int) -> list[Any]:
    """Return one number a mode."""
    return [number(each) for each in np.broadcast_to(np.asarray(x, dtype=object), (size,))]


def _projector(direction: list[Any]) -> Any:
    """Return u u† for u along the direction, zero if it is zero."""
    column = mp.matrix(direction)
    length2 = mp.re((column.H * column)[0, 0])
    return column * column.H / length2 if length2 else mp.zeros(len(direction))


def _rounded(exact: OracleResult) -> OracleResult:
    def real(x: Any) -> Any:
        if isinstance(x, RadialTangential):
            return RadialTangential(*(real(side) for side in x))
        return x.astype(np.float64)

    return OracleResult(
        exact.mean.astype(np.complex128), real(exact.precision), real(exact.weights)
    )
