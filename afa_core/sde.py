"""The state-space models: parameters of a diagonalised linear SDE (spec §1, §2, §6)."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from afa_core import covariance as lyapunov
from afa_core.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    dtype_name,
    is_array,
    namespace,
)
from afa_core.checks import require_finite, require_nonnegative, require_some_positive
from afa_core.pairs import Pair, to_complex


class Noise(NamedTuple):
    """Noise of the model, per complex mode; half of each on the real, half on the imaginary part.

    Parameters
    ----------
    process : array or float
        σ², intensity of the driving noise, value²/time, ≥ 0.
    measurement : array or float
        η², variance of a key's measurement, value², ≥ 0.
    query : array or float
        γ², variance of the query's measurement, value², ≥ 0, with η² + γ² > 0.
    """

    process: Parameter
    measurement: Parameter
    query: Parameter

    def validate(self, name: str = "noise") -> None:
        """Raise ValueError naming the field that is negative, not finite, or leaves η² + γ² = 0."""
        require_nonnegative(**{f"{name}.{field}": x for field, x in self._asdict().items()})
        require_some_positive(
            **{f"{name}.measurement": self.measurement, f"{name}.query": self.query}
        )


class RadialTangential(NamedTuple):
    """A quantity along the anchor direction and one across it (spec §6)."""

    radial: Any
    tangential: Any


class IsotropicSDE(NamedTuple):
    """One decay and one noise for all modes of a head, dx = (−μ + iω) x dt + σ dw (spec §4).

    Parameters
    ----------
    decay : array, shape (...), or float
        μ = −Re λ, 1/time, ≥ 0. Leading axes are batch and heads.
    frequency : array, shape (..., d), or float
        ω = Im λ of each mode, rad/time.
    noise : Noise
        σ², η², γ², each (...) or a float.
    value_frequency : array, shape (..., d_v), float or None
        Frequencies ω_v of the value's modes; None takes `frequency`, zero switches the
        rotation of values off.

    Examples
    --------
    >>> import numpy as np
    >>> sde = IsotropicSDE(0.1, np.asarray([0.0, 1.0]), Noise(0.2, 1.0, 0.5))
    >>> sde.residual_covariance(np.asarray([0.0, 1.0]))
    array([1.5       , 1.49998...])
    """

    decay: Parameter
    frequency: Parameter
    noise: Noise
    value_frequency: Parameter | None = None

    def transition(self, lag: Array) -> Array:
        """Return e^{ΛΔ}, complex; `lag` broadcasts against (..., d).

        A negative lag decays too (|Δ|), and turns back: the stationary reversal of spec §8.4.
        """
        return _transition(append_axes(self.decay, 1), self.frequency, lag)

    def covariance(self, lag: Array) -> Array:
        """Return V(|Δ|), equation (2.1), value²; `lag` broadcasts against (...)."""
        return _covariance(self.decay, self.noise, lag)

    def residual_covariance(self, lag: Array) -> Array:
        """Return Σ(Δ), equation (2.2), value²; `lag` broadcasts against (...)."""
        return _residual_covariance(self.decay, self.noise, lag)

    def validate(self) -> None:
        """Check values: they are not checked when attending, where that would break tracing.

        Raises
        ------
        ValueError
            If the decay or a noise is negative or not finite, η² + γ² = 0, or a frequency is
            not finite; the message names the field.
        """
        _validate(self.decay, self.frequency, self.value_frequency, noise=self.noise)


class DiagonalSDE(NamedTuple):
    """Every mode its own decay and noise, dx_k = λ_k x_k dt + σ_k dw_k (spec §5).

    Parameters
    ----------
    decay : array, shape (..., d), or float
        μ_k = −Re λ_k, 1/time, ≥ 0.
    frequency : array, shape (..., d), or float
        ω_k = Im λ_k, rad/time.
    noise : Noise
        σ_k², η_k², γ_k², each (..., d) or a float.
    """

    decay: Parameter
    frequency: Parameter
    noise: Noise

    def transition(self, lag: Array) -> Array:
        """Return e^{ΛΔ}, complex; `lag` broadcasts against (..., d)."""
        return _transition(self.decay, self.frequency, lag)

    def covariance(self, lag: Array) -> Array:
        """Return V_k(|Δ|), equation (2.1), value²; `lag` broadcasts against (..., d)."""
        return _covariance(self.decay, self.noise, lag)

    def residual_covariance(self, lag: Array) -> Array:
        """Return Σ_k(Δ), equation (2.2), value²; `lag` broadcasts against (..., d)."""
        return _residual_covariance(self.decay, self.noise, lag)

    def validate(self) -> None:
        """Check values, as `IsotropicSDE.validate` does."""
        _validate(self.decay, self.frequency, None, noise=self.noise)


class RadialTangentialSDE(NamedTuple):
    """Noise of one intensity along the state's direction and another across it (spec §6).

    Parameters
    ----------
    decay : array, shape (...), or float
        μ, 1/time, ≥ 0.
    frequency : array, shape (..., d), or float
        ω of each mode, rad/time.
    radial_noise, tangential_noise : Noise
        σ², η², γ² along and across the direction of the state, each (...) or a float.
    value_frequency : array, shape (..., d_v), float or None
        As in `IsotropicSDE`.
    """

    decay: Parameter
    frequency: Parameter
    radial_noise: Noise
    tangential_noise: Noise
    value_frequency: Parameter | None = None

    def transition(self, lag: Array) -> Array:
        """Return e^{ΛΔ}, complex; `lag` broadcasts against (..., d)."""
        return _transition(append_axes(self.decay, 1), self.frequency, lag)

    def covariance(self, lag: Array) -> RadialTangential:
        """Return V_r(|Δ|) and V_t(|Δ|), value²; `lag` broadcasts against (...)."""
        return RadialTangential(
            _covariance(self.decay, self.radial_noise, lag),
            _covariance(self.decay, self.tangential_noise, lag),
        )

    def residual_covariance(self, lag: Array) -> RadialTangential:
        """Return v_r and v_t of equation (6.1), value²; `lag` broadcasts against (...)."""
        return RadialTangential(
            _residual_covariance(self.decay, self.radial_noise, lag),
            _residual_covariance(self.decay, self.tangential_noise, lag),
        )

    def validate(self) -> None:
        """Check values, as `IsotropicSDE.validate` does."""
        _validate(
            self.decay,
            self.frequency,
            self.value_frequency,
            radial_noise=self.radial_noise,
            tangential_noise=self.tangential_noise,
        )


SDE: TypeAlias = IsotropicSDE | DiagonalSDE | RadialTangentialSDE


def _transition(decay: Parameter, frequency: Parameter, lag: Array) -> Array:
    xp = _lag_namespace(lag, decay=decay, frequency=frequency)
    size = lyapunov.decay_factor(lag, decay, xp=xp)
    turn = frequency * lag
    return to_complex(Pair(size * xp.cos(turn), size * xp.sin(turn)), xp=xp)


def _covariance(decay: Parameter, noise: Noise, lag: Array) -> Array:
    xp = _lag_namespace(lag, decay=decay, **noise._asdict())
    return lyapunov.propagated_covariance(lag, decay, noise.process, xp=xp)


def _residual_covariance(decay: Parameter, noise: Noise, lag: Array) -> Array:
    xp = _lag_namespace(lag, decay=decay, **noise._asdict())
    return lyapunov.residual_covariance(lag, decay, *noise, xp=xp)


def _lag_namespace(lag: Array, **parameters: Parameter) -> Namespace:
    if not is_array(lag):
        msg = f"`lag` must be an array of times, got {type(lag).__name__}. Convert it first."
        raise TypeError(msg)
    xp = namespace(lag=lag, **parameters)
    if not xp.isdtype(lag.dtype, "real floating"):
        msg = f"`lag` must have a real floating dtype, got {dtype_name(lag.dtype)}. Cast it first."
        raise TypeError(msg)
    return xp


def _validate(
    decay: Parameter,
    frequency: Parameter,
    value_frequency: Parameter | None,
    **noises: Noise,
) -> None:
    require_nonnegative(decay=decay)
    require_finite(frequency=frequency)
    if value_frequency is not None:
        require_finite(value_frequency=value_frequency)
    for name, noise in noises.items():
        noise.validate(name)
