"""What a set of keys leaves behind for each query, and how two sets become one (spec §9)."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, broadcast_shape, check_devices, namespace
from afa_core.model.estimates import Estimate
from afa_core.model.sde import RadialTangential


class PartialAttention(NamedTuple):
    """What a set of keys leaves behind for every query (spec §9).

    Parameters
    ----------
    peak : array, shape (..., n, 1), or (..., n, c_v) channel by channel for `DiagonalSDE`
        A number that the βL of the set do not exceed by much; −∞ where no key is seen.
    total : array, shape of `peak`
        Z = Σ_j exp(βL_ij − peak_i), 0 where no key is seen.
    carried : array, shape (..., n, c_v)
        N = Σ_j exp(βL_ij − peak_i) E_ij v_j, values turned to the time of the query; of the kind
        and layout of `value`, in the dtype of the computation.
    precision : array, shape (..., n), or (..., n, d) per mode for `DiagonalSDE`
        Σ_j exp(L_ij), whatever the temperature.
    """

    peak: Array
    total: Array
    carried: Array
    precision: Array


Partial = PartialAttention | RadialTangential
"""A `RadialTangential` of two for `RadialTangentialSDE`."""


def merge(a: Any, b: Any) -> Any:
    """Return what two disjoint sets of keys leave behind together.

    Associative and commutative, up to rounding; the state over no key at all changes nothing.

    Parameters
    ----------
    a, b : PartialAttention, or RadialTangential of two
        From `partial_attention` for the same queries.

    Returns
    -------
    PartialAttention, or RadialTangential of two

    Raises
    ------
    TypeError
        If one is no such state, or they are of different forms or libraries.
    ValueError
        If shapes or devices do not fit each other.

    References
    ----------
    Spec §9.
    """
    xp = check_states(a=a, b=b)
    if isinstance(a, RadialTangential):
        return RadialTangential(*(merged(*each, xp=xp) for each in zip(a, b, strict=True)))
    return merged(a, b, xp=xp)


def finish(state: Any) -> Estimate:
    """Return the estimate that all merged sets of keys make together.

    Parameters
    ----------
    state : PartialAttention, or RadialTangential of two

    Returns
    -------
    Estimate
        What `estimate` returns over all the keys; the mean is in the dtype of the computation,
        at least single precision.

    Raises
    ------
    TypeError
        If it is no such state.

    References
    ----------
    Spec §9, §10.
    """
    return finished(state, xp=check_states(state=state))


def finished(state: Any, *, xp: Namespace) -> Estimate:
    """Return the estimate of a state that needs no check."""
    if not isinstance(state, RadialTangential):
        return Estimate(mean_of(state, xp=xp), state.precision)
    radial, tangential = state
    mean = mean_of(radial, xp=xp) + mean_of(tangential, xp=xp)
    return Estimate(mean, RadialTangential(radial.precision, tangential.precision))


def merged(a: PartialAttention, b: PartialAttention, *, xp: Namespace) -> PartialAttention:
    """Merge two states of one set of weights."""
    peak = xp.maximum(a.peak, b.peak)
    common = xp.where(peak == -xp.inf, 0.0, peak)
    one, other = xp.exp(a.peak - common), xp.exp(b.peak - common)
    return PartialAttention(
        peak,
        one * a.total + other * b.total,
        one * a.carried + other * b.carried,
        a.precision + b.precision,
    )


def mean_of(state: PartialAttention, *, xp: Namespace) -> Array:
    """Return N/Z, zero where no key is seen."""
    return state.carried / xp.where(state.total > 0.0, state.total, 1.0)


def check_states(**states: Any) -> Namespace:
    """Check that all are partial states of one form; return their namespace."""
    first = next(iter(states))
    fields: dict[str, list[Any]] = {}
    for name, state in states.items():
        two = isinstance(state, RadialTangential)
        parts = list(state) if two else [state]
        if not all(isinstance(each, PartialAttention) for each in parts):
            msg = (
                f"`{name}` must be a PartialAttention, or a RadialTangential of two, "
                f"got {type(state).__name__}. Make it with `partial_attention`."
            )
            raise TypeError(msg)
        if two != isinstance(states[first], RadialTangential):
            msg = (
                f"`{name}` must be a {type(states[first]).__name__} like `{first}`, "
                f"got {type(state).__name__}. Use the same `sde` for both."
            )
            raise TypeError(msg)
        fields[name] = parts
    named = {
        f"{name}.{field}": x
        for name, parts in fields.items()
        for part in parts
        for field, x in part._asdict().items()
    }
    xp = namespace(**named)
    check_devices(xp, **named)
    for field in PartialAttention._fields:
        shapes = {f"{n}.{field}": getattr(parts[0], field).shape for n, parts in fields.items()}
        broadcast_shape(shapes, "the two states")
    return xp
