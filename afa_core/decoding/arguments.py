"""The arguments of a cache and of a step, and their checks, which do not read values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict, cast

from afa_core._array.arrays import (
    Array,
    DType,
    Namespace,
    Parameter,
    broadcast_shape,
    check_array,
    check_devices,
    device_of,
    is_count,
    is_number,
    namespace,
    wide_dtype,
    wide_integer,
)
from afa_core._array.pairs import Layout, Pair, split
from afa_core._array.pairs import cast as cast_pair
from afa_core._checks.arguments import Arguments, check, collect_arguments
from afa_core._checks.masks import check_boolean
from afa_core._checks.parameters import model_in
from afa_core._checks.shapes import check_axis, check_layout, check_same_kind, check_width
from afa_core._checks.times import check_integer, check_times
from afa_core.model.sde import SDE, RadialTangential
from afa_core.model.weighting import Weighting


class StepOptions(TypedDict, total=False):
    """The keyword arguments of `decode_step`, which describes them."""

    weighting: Weighting
    inverse_temperature: Parameter
    time: Parameter | None
    mask: Array | None
    anchor: Array | None
    layout: Layout
    correlated: bool
    query_variance: Array | RadialTangential | None
    tolerance: float | None


class NewTokens(NamedTuple):
    """New tokens, checked and cast, as real pairs; those that the mask hides are zeros."""

    key: Pair  # (..., c, d)
    value: Pair  # (..., c, d_v)
    times: Array | None  # (..., c, 1)
    visible: Array | None  # (..., c, 1)
    sde: SDE


def collect_step_arguments(
    query: Array, key: Array, value: Array, sde: SDE, options: Mapping[str, Any]
) -> tuple[Arguments, Parameter | None, Array | None]:
    """Return the arguments of a step with the defaults of those left out, the time and the mask.

    Raises
    ------
    TypeError
        If an option is unknown.
    """
    rest = dict(options)
    time, mask = rest.pop("time", None), rest.pop("mask", None)
    return collect_arguments(query, key, value, sde, rest, StepOptions), time, mask


def new_tokens(
    arguments: Arguments,
    times: Parameter | None,
    mask: Array | None,
    dtype: DType,
    *,
    xp: Namespace,
) -> NewTokens:
    """Return the keys and values of checked arguments in a real dtype."""
    device = device_of(arguments.key)
    wide = wide_dtype(xp, device)
    sde = model_in(arguments.sde, dtype, wide, xp=xp)
    visible = None if mask is None else mask[..., None]

    def read(x: Array) -> Pair:
        modes = cast_pair(split(x, arguments.layout, xp=xp), dtype, xp=xp)
        if visible is None:
            return modes
        return Pair(*(xp.where(visible, part, 0.0) for part in modes))

    column: Array | None = None
    if is_number(times):
        own = wide_integer(xp, device) if isinstance(times, int) else wide
        column = xp.full((1, 1), times, dtype=own, device=device)
    elif times is not None:
        column = cast(Array, times)[..., None]
    return NewTokens(read(arguments.key), read(arguments.value), column, visible, sde)


def check_new_tokens(
    arguments: Arguments, name: str, times: Parameter | None, mask: Array | None
) -> tuple[Namespace, dict[str, tuple[int, ...]]]:
    """Check arguments with as many queries as keys, and the times and the mask of the tokens.

    `name` is that of the times. Returns the namespace, and the leading axes by name.
    """
    xp, leading = check(arguments)
    shapes = {"query": leading}
    tokens = arguments.key.shape[-2]
    given = {name: times, "mask": mask}
    if is_number(times) and tokens == 1:
        check_integer(name, times, xp=xp, device=device_of(arguments.key))
        del given[name]
    for each, x in given.items():
        if x is None:
            continue
        check_array(each, x)
        column = cast(Array, x)
        pair = {"key": arguments.key, each: column}
        check_devices(namespace(**pair), **pair)
        if each == "mask":
            check_boolean(each, column, true="is kept", xp=xp)
        else:
            check_times(each, column, xp=xp)
        check_axis(each, column, -1, tokens, "the tokens of `key`")
        shapes[each] = column.shape[:-1]
    broadcast_shape(shapes)
    return xp, shapes


def check_prefix(
    key: Array,
    value: Array,
    sde: SDE,
    times: Array | None,
    mask: Array | None,
    *,
    layout: Layout,
    correlated: bool,
) -> tuple[Arguments, Namespace]:
    """Check the arguments of a cache."""
    for name, x in {"key": key, "value": value}.items():  # before the key stands in for a query
        check_array(name, x)
    own = namespace(key=key, value=value)
    check_devices(own, key=key, value=value)
    check_same_kind({"key": key, "value": value}, xp=own)
    check_layout(layout)
    check_width("key", key, paired=bool(own.isdtype(key.dtype, "real floating")))
    arguments = Arguments(key, key, value, sde, layout=layout, correlated=correlated)
    xp, _ = check_new_tokens(arguments, "times", times, mask)
    return arguments, xp


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
