r"""The likelihood of measurements given those before them: normal, or Student-t around the filter.

With S = η²(1 + p⁻) the variance of an innovation e of n real components (one, or two of a pair),
the loss of a measurement is, up to a constant,

    normal:     ½|e|²/S + ½n log S
    Student-t:  ½(ν + n) log(1 + |e|²/νcS) + ½n log cS

The scale c makes S the variance of normal data: where e ~ N(0, S), the expected loss is least at S
itself, if E[(ν + n)y/(νc + y)] = n for y ~ χ²_n.
"""

from __future__ import annotations

from math import lgamma, log, pi
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afa_core.timeseries import reweighting
from afa_core.timeseries.innovations import (
    NUMPY,
    Bools,
    Floats,
    Innovations,
    Recursion,
    innovations,
    transition,
)
from afa_core.timeseries.reweighting import SAME_RELIABILITY, normal_scale


class Density(NamedTuple):
    """The density of an innovation relative to the root of its variance."""

    parts: int  # n
    dof: float | None  # ν, None for the normal density
    scale: float  # c

    @classmethod
    def of(cls, parts: int, dof: float | None) -> Density:
        """Return the density of n components with ν = n · dof, of the scale for normal data."""
        if dof is None:
            return cls(parts, None, 1.0)
        return cls(parts, parts * dof, normal_scale(parts * dof, parts))

    def loss(self, square: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the loss at y = |e|²/S, without log S, and its derivatives by y and by log S."""
        n, dof, c = self
        if dof is None:
            return 0.5 * (square + n * log(2.0 * pi)), np.full_like(square, 0.5), 0.5 * (n - square)
        constant = lgamma(0.5 * dof) - lgamma(0.5 * (dof + n)) + 0.5 * n * log(pi * dof * c)
        loss = 0.5 * (dof + n) * np.log1p(square / (dof * c)) + constant
        slope = 0.5 * (dof + n) / (dof * c + square)
        return loss, slope, 0.5 * n - slope * square

    def information(self) -> tuple[float, float]:
        """Return the expected information in e/√S and in log S, of this density."""
        n, dof, c = self
        if dof is None:
            return 1.0, 0.5 * n
        return (dof + n) / (dof + n + 2.0) / c, 0.5 * n * dof / (dof + n + 2.0)


class Parameters(NamedTuple):
    """Parameters of s series, (s, k): log μ, log σ², log η², the level, and of a pair ω.

    The level of a pair has two components.
    """

    table: Floats

    @property
    def decay(self) -> Floats:
        """μ, (s, 1)."""
        return np.exp(self.table[:, 0:1])

    @property
    def ratio(self) -> Floats:
        """σ²/η², (s, 1)."""
        return np.exp(self.table[:, 1:2] - self.table[:, 2:3])

    @property
    def measurement(self) -> Floats:
        """η², (s, 1)."""
        return np.exp(self.table[:, 2:3])


class Problem(NamedTuple):
    """Series whose likelihood is asked for: s at n times, in units of their own."""

    values: NDArray[Any]  # (s, n), complex of pairs; zero where nothing is measured
    times: Floats  # (n,)
    observed: Bools  # (s, n)
    reliability: Floats  # (s, n)
    density: Density

    @property
    def counted(self) -> Bools:
        """Which measurements have a density: all but the first of each series."""
        return self.observed & (np.cumsum(self.observed, axis=-1) > 1)

    @property
    def first(self) -> Bools:
        """Which is the first measurement of each series."""
        return self.observed & ~self.counted

    def rows(self, part: slice) -> Problem:
        """Return the problem of some of the times."""
        return Problem(
            self.values[:, part],
            self.times[part],
            self.observed[:, part],
            self.reliability[:, part],
            self.density,
        )

    @property
    def lag(self) -> Floats:
        """Times since the one before, (n,), zero at the first."""
        return np.diff(self.times, prepend=self.times[:1])

    def relative(self, parameters: Parameters) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return values relative to the level, and the constant one, in the rotating frame."""
        table = parameters.table
        level, phase = table[:, 3:4], np.ones(self.values.shape)
        if self.density.parts == 2:
            level, phase = level + 1j * table[:, 4:5], np.exp(-1j * table[:, 5:6] * self.times)
        return np.where(self.observed, self.values - level, 0.0) * phase, phase

    def innovations(self, parameters: Parameters) -> tuple[Innovations, NDArray[Any]]:
        """Return the innovations of the values, and their derivatives by all but η².

        The derivatives are (k − 1, s, n): by log μ, log s, the level, the frequency.
        """
        recursion = Recursion(
            self.lag,
            np.where(self.first, 1.0, np.where(self.observed, self.reliability, 0.0)),
            self.first,
        )
        value, phase = self.relative(parameters)
        channels = [value, phase]
        if self.density.parts == 2:
            channels.append(-1j * self.times * value)  # by the frequency
        found = innovations(np.stack(channels), recursion, parameters.decay, parameters.ratio)
        others = [-found.value[1]]
        if self.density.parts == 2:
            # of e e^{iωt}, whose phase is that of the values: |e| is the same
            others += [-1j * found.value[1], found.value[2] + 1j * self.times * found.value[0]]
        return found, np.concatenate([found.value_grad, np.stack(others)])


class Evaluation(NamedTuple):
    """Losses of s series, with their derivatives by k parameters."""

    loss: Floats  # (s,)
    grad: Floats  # (s, k)
    information: Floats  # (s, k, k), expected


def evaluate(problem: Problem, parameters: Parameters) -> Evaluation:
    """Return the losses, their gradients and the expected information."""
    found, grads = problem.innovations(parameters)
    counted, density = problem.counted, problem.density
    variance = parameters.measurement * found.variance  # S
    square = np.abs(found.value[0]) ** 2 / variance
    loss, slope, d_log = density.loss(square)
    loss = np.sum(np.where(counted, loss + 0.5 * density.parts * np.log(variance), 0.0), axis=-1)

    # by log μ, log s | log η² | level, frequency
    grads = np.where(counted, grads / np.sqrt(variance), 0.0)
    scaled = np.where(counted, found.value[0] / np.sqrt(variance), 0.0)
    log_grads = np.where(counted, found.variance_grad / found.variance, 0.0)
    none = np.zeros_like(log_grads[:1])
    one = np.where(counted, 1.0, 0.0)[None]
    by_value = np.concatenate([grads[:2], -grads[1:2], grads[2:]])  # (k, s, n)
    by_log = np.concatenate([log_grads, one - log_grads[1:2], *[none] * len(grads[2:])])

    along = np.real(np.conj(scaled) * by_value)
    grad = np.einsum("ksn,sn->sk", along, 2.0 * slope) + np.einsum("ksn,sn->sk", by_log, d_log)
    of_value, of_log = density.information()
    flat = np.concatenate([by_value.real, by_value.imag], axis=-1)
    information = of_value * _products(flat) + of_log * _products(by_log)
    return Evaluation(loss, grad, information)


def _products(x: Floats) -> Floats:
    """Return Σ_n x_kn x_ln, (s, k, k), of (k, s, n)."""
    per_series = np.swapaxes(x, 0, 1)
    return per_series @ np.swapaxes(per_series, -1, -2)


def reweighted(problem: Problem, parameters: Parameters) -> Problem:
    """Return the problem with the reliabilities that its own innovations have."""
    dof = problem.density.dof
    if dof is None:
        return problem
    parts = problem.density.parts
    noise = np.sqrt(parts * parameters.measurement)
    values: Any = problem.relative(parameters)[0] / noise
    observed: Any = problem.observed
    first: Any = problem.first
    reliability: Any = problem.reliability
    found: Any = reweighting.reweighted(
        values,
        transition(problem.lag, parameters.decay, parameters.ratio),
        observed,
        first,
        reliability,
        dof=dof,
        parts=parts,
        same=SAME_RELIABILITY,
        xp=NUMPY,
    )
    return problem._replace(reliability=found.reliability)
