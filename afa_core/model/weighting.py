"""Robust weights: the log-weight of a pair from its squared Mahalanobis distance (spec §3).

`distance` is m = r†Σ⁻¹r ≥ 0 and `modes` the number d of complex modes it sums over. A weight
is in (0, 1], equals 1 at m = 0 and decreases with m.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, cast

from afa_core._array.arrays import (
    Array,
    Parameter,
    append_axes,
    check_array,
    in_one_rank,
    is_number,
    namespace,
)
from afa_core._checks.values import require_positive

MAX_INTEGER_POWER = 9
"""The largest integer power for which multiplication is faster than a logarithm."""


class StudentT(NamedTuple):
    """Student-t weight, log w(m) = −(ν_s + 1) log1p(m/(ν_s d)).

    The log-density, per complex mode, of a circular complex Student-t. It is calibrated: the
    logit −log Σ + log w is largest in Σ exactly where the squared residual is dΣ.

    Parameters
    ----------
    dof : array, shape (...), or float
        Degrees of freedom ν_s per complex mode, > 0; leading axes are batch and heads.

    References
    ----------
    Spec §3; its power-law limit is spec §7.2.
    """

    dof: Parameter = 4.0

    def log_weight(self, distance: Array, modes: int) -> Array:
        """Return log w(m); `dof` broadcasts against `distance`."""
        xp = namespace(distance=distance, dof=self.dof)
        distance, dof = in_one_rank(distance, self.dof)
        found: Array = -(dof + 1.0) * xp.log1p(distance / (dof * modes))
        return found

    def validate(self) -> None:
        """Raise ValueError unless `dof` is finite and positive."""
        require_positive(dof=self.dof)


class Gaussian(NamedTuple):
    """Gaussian weight, log w(m) = −m/d: the limit ν_s → ∞ of `StudentT`, error O(1/ν_s).

    References
    ----------
    Spec §3; with no decay and no process noise it is rotary attention, spec §7.1.
    """

    def log_weight(self, distance: Array, modes: int) -> Array:
        """Return log w(m)."""
        check_array("distance", distance)
        return -distance / modes

    def validate(self) -> None:
        """Do nothing: there is no parameter."""


class Rational(NamedTuple):
    """Rational weight, log w(m) = −log1p(m/(ν_s d)): the IRLS weight of the Student-t.

    The weight of the first versions of the paper; not calibrated (spec §12).

    Parameters
    ----------
    dof : array, shape (...), or float
        Degrees of freedom ν_s per complex mode, > 0.
    """

    dof: Parameter = 4.0

    def log_weight(self, distance: Array, modes: int) -> Array:
        """Return log w(m); `dof` broadcasts against `distance`."""
        xp = namespace(distance=distance, dof=self.dof)
        distance, dof = in_one_rank(distance, self.dof)
        return -xp.log1p(distance / (dof * modes))

    def validate(self) -> None:
        """Raise ValueError unless `dof` is finite and positive."""
        require_positive(dof=self.dof)


class Uniform(NamedTuple):
    """Weight 1: the precision prior alone, which makes the filter linear and time-invariant."""

    def log_weight(self, distance: Array, modes: int) -> Array:
        """Return zeros, whatever the distance."""
        return namespace(distance=distance).zeros_like(distance)

    def validate(self) -> None:
        """Do nothing: there is no parameter."""


Weighting: TypeAlias = StudentT | Gaussian | Rational | Uniform


def integer_power_of(weighting: Weighting, inverse_temperature: Parameter) -> int:
    """Return the p of a weight that is Σ^{p−1} (Σ + ρ/(ν_s d))^{−p}, 0 where it takes a logarithm.

    That is known where β is the number 1 and ν_s an integer, not an array.
    """
    if not (is_number(inverse_temperature) and inverse_temperature == 1.0):
        return 0
    if isinstance(weighting, Rational):
        return 1
    if isinstance(weighting, StudentT) and is_number(weighting.dof):
        power = float(cast(float, weighting.dof)) + 1.0
        return int(power) if power.is_integer() and 1.0 < power <= MAX_INTEGER_POWER else 0
    return 0


def integer_power(
    x: Array, exponent: int, multiply: Callable[[Array, Array], Array] = operator.mul
) -> Array:
    """Return x^k by squaring, k ≥ 1: array libraries take a logarithm.

    `multiply` may overwrite its first argument.
    """
    if exponent == 1:
        return x
    if exponent % 2:
        return multiply(integer_power(x * x, exponent // 2, multiply), x)
    return integer_power(multiply(x, x), exponent // 2, multiply)


def broadcast_weighting(weighting: Weighting, count: int) -> Weighting:
    """Append `count` axes to the parameters, to broadcast with a distance."""
    return type(weighting)(*(append_axes(x, count) for x in weighting))
