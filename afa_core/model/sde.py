"""The state-space models: parameters of a diagonalised linear SDE (spec §1, §2, §6)."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, get_args

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    broadcast_shape,
    check_devices,
    check_parameter,
    check_real,
    in_one_rank,
    is_array,
    namespace,
    shape_of,
)
from afa_core._array.pairs import Pair, to_complex
from afa_core._checks.values import require_finite, require_nonnegative, require_some_positive
from afa_core.model.covariance import decay_factor, propagated_covariance, residual_covariance
from afa_core.model.weighting import Weighting


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
        """Raise ValueError if a field is negative or not finite, or if η² + γ² = 0."""
        require_nonnegative(**parameters_of(self, f"{name}."))
        require_some_positive(
            **{f"{name}.measurement": self.measurement, f"{name}.query": self.query}
        )


class RadialTangential(NamedTuple):
    """A quantity along the direction of the anchor and one across it (spec §6)."""

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
        Frequencies ω_v of the modes of values, by default `frequency`; with zero, values are
        not rotated.

    Examples
    --------
    >>> import numpy as np
    >>> sde = IsotropicSDE(0.1, np.asarray([0.0, 1.0]), Noise(0.4, 1.0, 0.5))
    >>> sde.residual_covariance(np.asarray([0.0, 1.0]))
    array([1.5       , 1.68126925])
    """

    decay: Parameter
    frequency: Parameter
    noise: Noise
    value_frequency: Parameter | None = None

    def transition(self, lag: Array) -> Array:
        """Return e^{ΛΔ}, complex; `lag` broadcasts against (..., d).

        A negative lag decays too, by |Δ|, and its rotation is inverse: the stationary reversal of
        spec §8.4.
        """
        return _transition(self, lag)

    def covariance(self, lag: Array) -> Array:
        """Return V(|Δ|), equation (2.1), value²; `lag` broadcasts against (...)."""
        return _covariance(self, self.noise, lag)

    def residual_covariance(self, lag: Array) -> Array:
        """Return Σ(Δ), equation (2.2), value²; `lag` broadcasts against (...)."""
        return _residual_covariance(self, self.noise, lag)

    def validate(self) -> None:
        """Check values, which attention does not do because it could not be traced then.

        Raises
        ------
        ValueError
            If the decay or a noise is negative or not finite, η² + γ² = 0, or a frequency is
            not finite; the message names the field.
        """
        _validate(self)


class DiagonalSDE(NamedTuple):
    """A decay and a noise for every mode, dx_k = λ_k x_k dt + σ_k dw_k (spec §5).

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
        return _transition(self, lag)

    def covariance(self, lag: Array) -> Array:
        """Return V_k(|Δ|), equation (2.1), value²; `lag` broadcasts against (..., d)."""
        return _covariance(self, self.noise, lag)

    def residual_covariance(self, lag: Array) -> Array:
        """Return Σ_k(Δ), equation (2.2), value²; `lag` broadcasts against (..., d)."""
        return _residual_covariance(self, self.noise, lag)

    def validate(self) -> None:
        """Check values, as `IsotropicSDE.validate` does."""
        _validate(self)


class RadialTangentialSDE(NamedTuple):
    """Noise of different intensity along the state and across it (spec §6).

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
        return _transition(self, lag)

    def covariance(self, lag: Array) -> RadialTangential:
        """Return V_r(|Δ|) and V_t(|Δ|), value²; `lag` broadcasts against (...)."""
        return RadialTangential(
            _covariance(self, self.radial_noise, lag), _covariance(self, self.tangential_noise, lag)
        )

    def residual_covariance(self, lag: Array) -> RadialTangential:
        """Return v_r and v_t of equation (6.1), value²; `lag` broadcasts against (...)."""
        return RadialTangential(
            _residual_covariance(self, self.radial_noise, lag),
            _residual_covariance(self, self.tangential_noise, lag),
        )

    def validate(self) -> None:
        """Check values, as `IsotropicSDE.validate` does."""
        _validate(self)


SDE: TypeAlias = IsotropicSDE | DiagonalSDE | RadialTangentialSDE


def check_instance(name: str, x: object, *kinds: type) -> None:
    """Raise TypeError unless `x` is one of the kinds."""
    if not isinstance(x, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        arrived = "an array" if is_array(x) else type(x).__name__
        msg = f"`{name}` must be of type {names}, got {arrived}. Construct one."
        raise TypeError(msg)


def check_sde(x: object) -> None:
    """Raise TypeError unless `x` is one of the models."""
    check_instance("sde", x, *get_args(SDE))


def parameters_of(x: SDE | Noise | Weighting, prefix: str = "") -> dict[str, Parameter]:
    """Return the parameters of a model, a noise or a weighting under their dotted names.

    Raises
    ------
    TypeError
        If one is neither a Python number nor a real array, or a noise is not a `Noise`.
    """
    found: dict[str, Parameter] = {}
    for field, value in x._asdict().items():
        name = prefix + field
        if field == "value_frequency" and value is None:
            continue
        if field.endswith("noise"):
            check_instance(name, value, Noise)
            found |= parameters_of(value, f"{name}.")
        else:
            check_parameter(name, value)
            found[name] = value
    return found


def _transition(sde: SDE, lag: Array) -> Array:
    parameters_of(sde)
    decay = sde.decay if isinstance(sde, DiagonalSDE) else append_axes(sde.decay, 1)
    xp = _lag_namespace(lag, decay=decay, frequency=sde.frequency)
    lag, decay, frequency = in_one_rank(lag, decay, sde.frequency)
    size = decay_factor(lag, decay, xp=xp)
    angle = frequency * lag
    return to_complex(Pair(size * xp.cos(angle), size * xp.sin(angle)), xp=xp)


def _covariance(sde: SDE, noise: Noise, lag: Array) -> Array:
    parameters_of(sde)
    xp = _lag_namespace(lag, decay=sde.decay, **noise._asdict())
    return propagated_covariance(*in_one_rank(lag, sde.decay, noise.process), xp=xp)


def _residual_covariance(sde: SDE, noise: Noise, lag: Array) -> Array:
    parameters_of(sde)
    xp = _lag_namespace(lag, decay=sde.decay, **noise._asdict())
    return residual_covariance(*in_one_rank(lag, sde.decay, *noise), xp=xp)


def _lag_namespace(lag: Array, **parameters: Parameter) -> Namespace:
    check_real("lag", lag)
    # With an axis, NumPy's float64 is an array and no number.
    xp = namespace(lag=lag[None, ...], **parameters)
    check_devices(xp, lag=lag, **parameters)
    shapes = {name: shape_of(x) for name, x in parameters.items()}
    broadcast_shape({"lag": lag.shape, **shapes}, "`lag` and the parameters")
    return xp


def _validate(sde: SDE) -> None:
    found = parameters_of(sde)
    require_nonnegative(decay=sde.decay)
    require_finite(**{name: x for name, x in found.items() if name.endswith("frequency")})
    for name, x in sde._asdict().items():
        if isinstance(x, Noise):
            x.validate(name)
