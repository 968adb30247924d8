"""The arguments of a cache and of a step, and their checks: never of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

from afa_core._array.arrays import (
    Array,
    DType,
    Namespace,
    Parameter,
    broadcast_shape,
    check_array,
    check_devices,
    device_of,
    dtype_name,
    is_count,
    is_number,
    namespace,
    wide_dtype,
)
from afa_core._array.pairs import Layout, Pair, cast, split
from afa_core._checks.arguments import Arguments, check, check_options
from afa_core._checks.problem import model_in
from afa_core._checks.shapes import check_axis, check_layout, check_same_kind, check_width
from afa_core.model.sde import SDE
from afa_core.model.weighting import Weighting


class StepOptions(TypedDict, total=False):
    """The keyword arguments of `decode_step`, for the function that takes the same ones."""

    weighting: Weighting
    inverse_temperature: Parameter
    time: Parameter | None
    mask: Array | None
    anchor: Array | None
    layout: Layout


class Arrival(NamedTuple):
    """Tokens that arrive, read: checked, cast, in real pairs, hidden ones zeroed."""

    key: Pair  # (..., c, d)
    value: Pair  # (..., c, d_v)
    times: Array | None  # (..., c, 1)
    visible: Array | None  # (..., c, 1)
    sde: Any


def gather_step(
    query: Array, key: Array, value: Array, sde: SDE, options: Mapping[str, Any]
) -> tuple[Arguments, Parameter | None, Array | None]:
    """Return the arguments of a step with the defaults of those left out, the time and the mask.

    Raises
    ------
    TypeError
        If an option is unknown.
    """
    check_options(options, StepOptions)
    rest = dict(options)
    time, mask = rest.pop("time", None), rest.pop("mask", None)
    return Arguments(query, key, value, sde, **rest), time, mask


def arrive(
    a: Arguments, times: Parameter | None, mask: Array | None, dtype: DType, *, xp: Namespace
) -> Arrival:
    """Read keys and values of checked arguments in a real dtype."""
    wide = wide_dtype(xp, device_of(a.key))
    sde = model_in(a.sde, dtype, wide, xp=xp)
    visible = None if mask is None else mask[..., None]

    def read(x: Array) -> Pair:
        modes = cast(split(x, a.layout, xp=xp), dtype, xp=xp)
        if visible is None:
            return modes
        return Pair(*(xp.where(visible, part, 0.0) for part in modes))

    if is_number(times):
        column: Any = xp.full((1, 1), times, dtype=wide, device=device_of(a.key))
    else:
        column = None if times is None else times[..., None]  # type: ignore[index]
    return Arrival(read(a.key), read(a.value), column, visible, sde)


def check_arrival(
    a: Arguments, name: str, times: Parameter | None, mask: Array | None
) -> tuple[Namespace, dict[str, tuple[int, ...]]]:
    """Check arguments with as many queries as keys, and the times and the mask of the tokens.

    Returns the namespace, and the leading axes by name.
    """
    xp, lead = check(a)
    shapes = {"query": lead}
    tokens = a.key.shape[-2]
    given = {name: times, "mask": mask}
    if is_number(times) and tokens == 1:
        del given[name]
    for each, x in given.items():
        if x is None:
            continue
        check_array(each, x)
        pair: dict[str, Any] = {"key": a.key, each: x}
        check_devices(namespace(**pair), **pair)
        (_check_flags if each == "mask" else _check_times)(each, pair[each], xp=xp)
        check_axis(each, pair[each], -1, tokens, "the tokens of `key`")
        shapes[each] = pair[each].shape[:-1]
    broadcast_shape(shapes)
    return xp, shapes


def _check_times(name: str, times: Array, *, xp: Namespace) -> None:
    if not xp.isdtype(times.dtype, ("real floating", "signed integer")):
        msg = (
            f"`{name}` must have a real floating or signed integer dtype, "
            f"got {dtype_name(times.dtype)}. Cast it first."
        )
        raise TypeError(msg)


def _check_flags(name: str, mask: Array, *, xp: Namespace) -> None:
    if not xp.isdtype(mask.dtype, "bool"):
        msg = (
            f"`{name}` must be boolean (True is kept), got {dtype_name(mask.dtype)}. "
            "Compare it with something first."
        )
        raise TypeError(msg)


def check_prefix(
    key: Array,
    value: Array,
    sde: SDE,
    times: Array | None,
    mask: Array | None,
    layout: Layout,
) -> tuple[Arguments, Namespace]:
    """Check the arguments of a cache."""
    for name, x in {"key": key, "value": value}.items():  # before the key stands in for a query
        check_array(name, x)
    own = namespace(key=key, value=value)
    check_devices(own, key=key, value=value)
    check_same_kind({"key": key, "value": value}, xp=own)
    check_layout(layout)
    check_width("key", key, paired=bool(own.isdtype(key.dtype, "real floating")))
    a = Arguments(key, key, value, sde, layout=layout)
    xp, _ = check_arrival(a, "times", times, mask)
    return a, xp


def check_capacity(capacity: object) -> None:
    """Raise ValueError unless it is a number of tokens or None."""
    if capacity is None:
        return
    if not is_count(capacity):
        msg = (
            f"`capacity` must be a positive number of tokens or None, got {capacity!r}. "
            "Leave it out for a cache that grows."
        )
        raise ValueError(msg)
