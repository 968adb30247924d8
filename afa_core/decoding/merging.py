"""The partial state of attention over a set of keys, and the merge of two states (spec §9)."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from afa_core._array.arrays import Array, Namespace, broadcast_shape, check_devices, namespace
from afa_core._array.log_sum_exp import merge_sums
from afa_core.model.estimates import Estimate
from afa_core.model.sde import RadialTangential


class PartialAttention(NamedTuple):
    """The sums over a set of keys, for every query (spec §9).

    Parameters
    ----------
    peak : array, shape (..., n, 1), or (..., n, c_v) per channel for `DiagonalSDE`
        A number that the βL of the set do not exceed by much; −∞ for a query without visible keys.
    total : array, shape of `peak`
        Z = Σ_j exp(βL_ij − peak_i), 0 for a query without visible keys.
    carried : array, shape (..., n, c_v)
        N = Σ_j exp(βL_ij − peak_i) E_ij v_j, with values rotated to the time of the query; of the
        kind and layout of `value`, in the dtype of the computation.
    precision : array, shape (..., n), or (..., n, d) per mode for `DiagonalSDE`
        Σ_j exp(L_ij), whatever the temperature; over P_i if keys are correlated.
    prior : PartialAttention, or None
        The state of the prior's mean, which `finish` counts once, if keys are correlated and on
        both sides of the queries.
    """

    peak: Array
    total: Array
    carried: Array
    precision: Array
    prior: PartialAttention | None = None


SUMS = "peak", "total", "carried", "precision"
"""The fields that are arrays."""

Partial: TypeAlias = PartialAttention | RadialTangential
"""The state of any form: a `RadialTangential` of two states for `RadialTangentialSDE`."""


def merge(a: Partial, b: Partial) -> Partial:
    """Return the state of attention over the union of two disjoint sets of keys.

    The merge is associative and commutative up to rounding. Its neutral element is the state over
    no keys.

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
    xp = _check_states(a=a, b=b)
    if isinstance(a, RadialTangential):
        assert isinstance(b, RadialTangential)
        return RadialTangential(*(_merge(*each, xp=xp) for each in zip(a, b, strict=True)))
    assert isinstance(b, PartialAttention)
    return _merge(a, b, xp=xp)


def finish(state: Partial) -> Estimate:
    """Return the estimate of the keys whose states have been merged into one.

    Parameters
    ----------
    state : PartialAttention, or RadialTangential of two

    Returns
    -------
    Estimate
        The result of `estimate` over all these keys; the mean is in the dtype of the computation,
        at least single precision.

    Raises
    ------
    TypeError
        If it is no such state.

    References
    ----------
    Spec §9, §10.
    """
    return estimate_of(state, xp=_check_states(state=state))


def estimate_of(state: Partial, *, xp: Namespace) -> Estimate:
    """Return the estimate N/Z and its precision, without checks."""
    if not isinstance(state, RadialTangential):
        state = _with_prior(state, xp=xp)
        return Estimate(_mean(state, xp=xp), state.precision)
    radial, tangential = (_with_prior(each, xp=xp) for each in state)
    mean = _mean(radial, xp=xp) + _mean(tangential, xp=xp)
    return Estimate(mean, RadialTangential(radial.precision, tangential.precision))


def _merge(a: PartialAttention, b: PartialAttention, *, xp: Namespace) -> PartialAttention:
    peak, total, carried = merge_sums(a[:3], b[:3], xp=xp)
    return PartialAttention(peak, total, carried, a.precision + b.precision, a.prior)


def _with_prior(state: PartialAttention, *, xp: Namespace) -> PartialAttention:
    """Return the state with the prior's mean counted."""
    return state if state.prior is None else _merge(state, state.prior, xp=xp)


def _mean(state: PartialAttention, *, xp: Namespace) -> Array:
    """Return N/Z, zero for a query without visible keys."""
    return state.carried / xp.where(state.total > 0.0, state.total, 1.0)


def _check_states(**states: object) -> Namespace:
    """Check that all are partial states of one form; return their namespace."""
    first = next(iter(states))
    parts = {name: _parts(name, state) for name, state in states.items()}
    for name, state in states.items():
        if len(parts[name]) != len(parts[first]):
            msg = (
                f"`{name}` must be a {type(states[first]).__name__} like `{first}`, "
                f"got {type(state).__name__}. Use the same `sde` for both."
            )
            raise TypeError(msg)
    arrays = {
        f"{name}.{field}": x
        for name, own in parts.items()
        for part in own
        for field, x in zip(SUMS, part, strict=False)
    }
    xp = namespace(**arrays)
    check_devices(xp, **arrays)
    if len({own[0].prior is None for own in parts.values()}) > 1:
        msg = (
            "`a` and `b` must be parts of one sequence, got one with a prior and one without. "
            "Pass parts of the same `influence` to both."
        )
        raise ValueError(msg)
    for field in SUMS:
        shapes = {f"{name}.{field}": getattr(own[0], field).shape for name, own in parts.items()}
        broadcast_shape(shapes, "the two states")
    return xp


def _parts(name: str, state: object) -> tuple[PartialAttention, ...]:
    """Return the one or two states of a form, after checking that they are states."""
    parts: tuple[Any, ...] = tuple(state) if isinstance(state, RadialTangential) else (state,)
    if not all(isinstance(each, PartialAttention) for each in parts):
        msg = (
            f"`{name}` must be a PartialAttention, or a RadialTangential of two, "
            f"got {type(state).__name__}. Make it with `partial_attention`."
        )
        raise TypeError(msg)
    return parts
