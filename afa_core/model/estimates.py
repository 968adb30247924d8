"""Estimates, and prediction, innovation and gate, which are computed from them (spec §10).

Two changes of variables extend the model without a change of attention: a constant input shifts
the origin of the state, a key delay shifts the times of the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from afa_core._array import pairs
from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    broadcast_shape,
    check_array,
    check_devices,
    check_parameter,
    check_real,
    compute_dtype,
    device_of,
    in_one_rank,
    insert_axes,
    is_number,
    namespace,
    shape_of,
    wide_dtype,
    with_rank,
)
from afa_core._array.pairs import Layout, Pair
from afa_core._checks.parameters import aligned
from afa_core._checks.shapes import (
    check_axis,
    check_floating,
    check_layout,
    check_same_kind,
    check_width,
    parameter_shapes,
)
from afa_core.model.covariance import decay_factor
from afa_core.model.sde import SDE, DiagonalSDE, RadialTangential, check_sde


class Estimate(NamedTuple):
    """A filtered state and its precision (spec §10).

    Parameters
    ----------
    mean : array, shape (..., n, c_v)
        The estimate x̂, of the kind, layout and dtype of `value`.
    precision : array, shape (..., n), or (..., n, d) per mode for `DiagonalSDE`
        p = Σ_j w_ij/Σ_ij, 1/value², real, whatever the temperature; a `RadialTangential` of
        two arrays (..., n) for `RadialTangentialSDE`. If the errors of the keys are independent,
        1/p is the variance of a complex mode; where keys share process noise, it is less than
        the variance (spec §11).
    """

    mean: Array
    precision: Any


def predict(mean: Array, sde: SDE, horizon: Parameter, *, layout: Layout = "interleaved") -> Array:
    """Return the prediction e^{λh} x̂ of an estimate, at the frequencies of the values.

    Parameters
    ----------
    mean : array, shape (..., n, c_v)
        An estimate, complex or in real pairs of the given `layout`.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
    horizon : array, shape (..., n), or float
        h ≥ 0, time.
    layout : {"interleaved", "halves"}

    Returns
    -------
    array, shape (..., n, c_v)
        Of the kind, layout and dtype of `mean`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes do not fit each other.

    References
    ----------
    Spec §10.
    """
    own = getattr(sde, "value_frequency", None) is not None
    field = "value_frequency" if own else "frequency"
    xp, shapes = _check_dynamics("mean", mean, sde, field, layout, horizon=horizon)
    wide = wide_dtype(xp, device_of(mean))
    if is_number(horizon):
        ahead = xp.asarray([horizon], dtype=wide, device=device_of(mean))  # (1,)
    else:
        ahead = xp.astype(cast(Array, horizon), wide, copy=False)  # (..., n)
        check_axis("horizon", ahead, -1, mean.shape[-2], "the tokens of `mean`")
        shapes["horizon"] = ahead.shape[:-1]
    leading = len(broadcast_shape(shapes))
    ahead, sde = with_rank(ahead, leading + 1), aligned(sde, leading)
    decay = insert_axes(sde.decay, 1) if isinstance(sde, DiagonalSDE) else append_axes(sde.decay, 2)
    modes = read_tokens(with_rank(mean, leading + 2), layout, xp=xp)
    decayed = xp.astype(decay_factor(ahead[..., None], decay, xp=xp), modes.real.dtype)
    carried = pairs.rotate(modes, pairs.angle(getattr(sde, field), ahead), xp=xp)
    return pairs.join(pairs.scale(decayed, carried), layout, mean.dtype, xp=xp)


def innovation(mean: Array, value: Array) -> Array:
    """Return the innovation x̂ − v, (..., n, c_v), the residual branch of a layer (spec §10).

    Raises
    ------
    TypeError
        If the two are not floating arrays, are not both real or both complex, or come from
        different libraries.
    ValueError
        If their last two axes differ, or the leading ones do not broadcast.
    """
    arrays = {"mean": mean, "value": value}
    for name, x in arrays.items():
        check_array(name, x)
    xp = namespace(**arrays)
    check_devices(xp, **arrays)
    check_same_kind(arrays, xp=xp)
    for name, x in arrays.items():
        check_width(name, x, paired=False)
    check_axis("value", value, -1, mean.shape[-1], "the channels of `mean`")
    check_axis("value", value, -2, mean.shape[-2], "the tokens of `mean`")
    broadcast_shape({name: x.shape[:-2] for name, x in arrays.items()})
    mean, value = in_one_rank(mean, value)
    return mean - value


def gate(precision: Any, prior_precision: Parameter) -> Any:
    """Return g = p/(p + p₀), the share of the estimate in g x̂ + (1 − g) v (spec §10).

    Parameters
    ----------
    precision : array, shape (..., n) or (..., n, d), or RadialTangential of two
        p of an estimate, 1/value².
    prior_precision : array, broadcastable to `precision`, or float
        p₀ > 0, 1/value²: the precision of the token's own value.

    Returns
    -------
    array or RadialTangential, like `precision`
        In [0, 1]; zero for a query without visible keys, whose own value is then the result, and 1
        where the precision is infinite, that of correlated keys without noise.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If the shapes do not broadcast.
    """
    if isinstance(precision, RadialTangential):
        return RadialTangential(*(gate(each, prior_precision) for each in precision))
    check_real("precision", precision)
    arrays = {"precision": precision, "prior_precision": prior_precision}
    xp = _check_parameters(arrays)
    broadcast_shape({name: shape_of(x) for name, x in arrays.items()}, "the precisions")
    precision, prior_precision = in_one_rank(precision, append_axes(prior_precision, 0))
    certain = precision == xp.inf
    finite = xp.where(certain, 1.0, precision)
    return xp.where(certain, 1.0, finite / (finite + prior_precision))


def equilibrium(sde: SDE, constant_input: Array, *, layout: Layout = "interleaved") -> Array:
    """Return the equilibrium b = −u/λ of dx = (Ax + u) dt + ….

    Subtract b from query, key and value, attend, and add b: x − b obeys the equation without
    input. A mode with λ = 0 has no equilibrium; its b is NaN or infinite.

    Parameters
    ----------
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        Its `frequency` is used; for values with a `value_frequency`, replace it by that.
    constant_input : array, shape (..., c)
        u, value/time, complex or in real pairs of the given `layout`.
    layout : {"interleaved", "halves"}

    Returns
    -------
    array, shape (..., c)
        Of the kind, layout and dtype of `constant_input`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.

    References
    ----------
    Spec §10.
    """
    xp, shapes = _check_dynamics("constant_input", constant_input, sde, "frequency", layout, rank=1)
    leading = len(broadcast_shape(shapes))
    u = read_tokens(with_rank(constant_input, leading + 1), layout, xp=xp)
    sde = aligned(sde, leading)
    decay = sde.decay if isinstance(sde, DiagonalSDE) else append_axes(sde.decay, 1)
    length2 = decay**2 + sde.frequency**2
    real = (decay * u.real - sde.frequency * u.imag) / length2
    imag = (decay * u.imag + sde.frequency * u.real) / length2
    return pairs.join(Pair(real, imag), layout, constant_input.dtype, xp=xp)


def delay_keys(key_times: Array, delay: Parameter) -> Array:
    """Return the key times that lengthen every lag by δ, in decay, noise and phase.

    Pass the result as `key_times`, with the queries' own `query_times`.

    Parameters
    ----------
    key_times : array, shape (..., m)
        Times of the keys, time.
    delay : array, shape (...), or float
        δ ≥ 0, the time from a key to its effect on a query; leading axes are batch and heads.

    Returns
    -------
    array, shape (..., m)

    Raises
    ------
    TypeError
        If `key_times` is not a floating array.

    References
    ----------
    Spec §10.
    """
    check_real("key_times", key_times)
    arrays = {"key_times": key_times, "delay": delay}
    _check_parameters(arrays)
    if not key_times.ndim:
        msg = "`key_times` must have shape (..., m), got (). Add the axis of keys."
        raise ValueError(msg)
    broadcast_shape({"key_times": key_times.shape[:-1], **parameter_shapes({"delay": delay}, {})})
    key_times, delay = in_one_rank(key_times, append_axes(delay, 1))
    return key_times - delay


def _check_parameters(parameters: Mapping[str, Parameter]) -> Namespace:
    for name, x in parameters.items():
        check_parameter(name, x)
    xp = namespace(**parameters)
    check_devices(xp, **parameters)
    return xp


def check_modes(
    name: str, x: Array, layout: Layout, *, rank: int = 2, **parameters: Parameter
) -> Namespace:
    """Return the namespace of tokens and parameters after checking everything but values."""
    check_array(name, x)
    for other, parameter in parameters.items():
        check_parameter(other, parameter)
    xp = namespace(**{name: x}, **parameters)
    check_devices(xp, **{name: x}, **parameters)
    check_layout(layout)
    check_width(name, x, paired=check_floating(xp, name, x) == "real", rank=rank)
    return xp


def _check_dynamics(
    name: str,
    x: Array,
    sde: SDE,
    field: str,
    layout: Layout,
    *,
    rank: int = 2,
    **others: Parameter,
) -> tuple[Namespace, dict[str, tuple[int, ...]]]:
    """Check tokens and the eigenvalues of their dynamics; return the leading shapes."""
    check_sde(sde)
    parameters = {"sde.decay": sde.decay, f"sde.{field}": getattr(sde, field)}
    xp = check_modes(name, x, layout, rank=rank, **parameters, **others)
    modes = pairs.split(x, layout, xp=xp).real.shape[-1]
    per_mode = parameters if isinstance(sde, DiagonalSDE) else [f"sde.{field}"]
    shapes = parameter_shapes(parameters, {each: (modes, name) for each in per_mode})
    return xp, {name: x.shape[:-rank], **shapes}


def read_tokens(x: Array, layout: Layout, *, xp: Namespace) -> Pair:
    """Return the modes of tokens in the dtype of the computation."""
    return pairs.cast(pairs.split(x, layout, xp=xp), compute_dtype(xp, x), xp=xp)
