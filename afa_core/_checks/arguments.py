"""The arguments of attention and their checks: kinds, shapes and devices, never values.

Values are not checked here, because reading them would break tracing and wait for the device;
`sde.validate()` and `weighting.validate()` do it on request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict, get_args

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    broadcast_shape,
    check_array,
    check_devices,
    check_parameter,
    is_count,
    namespace,
    shape_of,
)
from afa_core._array.pairs import Layout
from afa_core._checks.masks import check_boolean, check_trailing_axes
from afa_core._checks.shapes import (
    check_axis,
    check_layout,
    check_same_kind,
    check_width,
    parameter_shapes,
)
from afa_core._checks.times import check_times
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    RadialTangentialSDE,
    check_instance,
    check_sde,
    parameters_of,
)
from afa_core.model.weighting import StudentT, Weighting


class Arguments(NamedTuple):
    """The arguments of `attention` as they arrive, with their defaults."""

    query: Array
    key: Array
    value: Array
    sde: SDE
    weighting: Weighting = StudentT(4.0)
    inverse_temperature: Parameter = 1.0
    query_times: Array | None = None
    key_times: Array | None = None
    causal: bool = True
    mask: Array | None = None
    anchor: Array | None = None
    layout: Layout = "interleaved"


class Options(TypedDict, total=False):
    """The keyword arguments of `attention`, for the functions that take the same ones."""

    weighting: Weighting
    inverse_temperature: Parameter
    query_times: Array | None
    key_times: Array | None
    causal: bool
    mask: Array | None
    anchor: Array | None
    layout: Layout


def gather(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    options: Mapping[str, Any],
    known: type[Any] = Options,
) -> Arguments:
    """Return the arguments with the defaults of those left out.

    `known` is the TypedDict of the options that the caller accepts.

    Raises
    ------
    TypeError
        If an option is unknown.
    """
    check_options(options, known)
    return Arguments(query, key, value, sde, **options)


def check_options(options: Mapping[str, Any], known: type[Any]) -> None:
    """Raise TypeError unless all options are among the fields of a TypedDict."""
    for name in options:
        if name not in known.__annotations__:
            listed = ", ".join(f"`{each}`" for each in known.__annotations__)
            msg = f"options must be among {listed}, got `{name}`. Correct the name."
            raise TypeError(msg)


def check(a: Arguments) -> tuple[Namespace, tuple[int, ...]]:
    """Check everything but values; return the namespace and the leading axes of all arguments.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.
    """
    _check_kinds(a)
    required = {"query": a.query, "key": a.key, "value": a.value}
    optional = {
        "anchor": a.anchor,
        "mask": a.mask,
        "query_times": a.query_times,
        "key_times": a.key_times,
    }
    arrays = required | {name: x for name, x in optional.items() if x is not None}
    for name, x in arrays.items():
        check_array(name, x)
    parameters = {
        **parameters_of(a.sde, "sde."),
        **parameters_of(a.weighting, "weighting."),
        "inverse_temperature": a.inverse_temperature,
    }
    check_parameter("inverse_temperature", a.inverse_temperature)
    xp = namespace(**arrays, **parameters)
    check_devices(xp, **arrays, **parameters)
    _check_dtypes(a, xp=xp)
    return xp, _check_shapes(a, parameters, xp=xp)


def _check_kinds(a: Arguments) -> None:
    check_sde(a.sde)
    check_instance("weighting", a.weighting, *get_args(Weighting))
    check_layout(a.layout)
    if not isinstance(a.causal, bool):
        msg = f"`causal` must be True or False, got {a.causal!r}. Convert it, or pass a `mask`."
        raise TypeError(msg)


def _check_dtypes(a: Arguments, *, xp: Namespace) -> None:
    tokens = {"query": a.query, "key": a.key, "value": a.value}
    check_same_kind(tokens if a.anchor is None else tokens | {"anchor": a.anchor}, xp=xp)
    for name, x in (("query_times", a.query_times), ("key_times", a.key_times)):
        if x is not None:
            check_times(name, x, xp=xp)
    if a.mask is not None:
        check_boolean("mask", a.mask, xp=xp)


def checked_tile(tile: int | None) -> int | None:
    """Return `tile`; raise ValueError unless it is a number of tokens or None."""
    if tile is None or is_count(tile):
        return tile
    msg = f"`tile` must be a positive number of tokens or None, got {tile!r}. Leave it out."
    raise ValueError(msg)


def _check_shapes(
    a: Arguments, parameters: Mapping[str, Parameter], *, xp: Namespace
) -> tuple[int, ...]:
    tokens = {"query": a.query, "key": a.key, "value": a.value}
    if a.anchor is not None:
        tokens["anchor"] = a.anchor
    paired = xp.isdtype(a.query.dtype, "real floating")
    for name, x in tokens.items():
        check_width(name, x, paired=paired)
    queries, keys = a.query.shape[-2], a.key.shape[-2]
    check_axis("key", a.key, -1, a.query.shape[-1], "the channels of `query`")
    check_axis("value", a.value, -2, keys, "the tokens of `key`")
    if isinstance(a.sde, DiagonalSDE):
        check_axis("value", a.value, -1, a.query.shape[-1], "`query`: all share the modes")
    _check_anchor(a)
    leading = {name: x.shape[:-2] for name, x in tokens.items()}
    for name, times, size in (
        ("query_times", a.query_times, queries),
        ("key_times", a.key_times, keys),
    ):
        if times is not None:
            check_axis(name, times, -1, size, f"the tokens of `{name.removesuffix('_times')}`")
            leading[name] = times.shape[:-1]
    if a.mask is not None:
        check_trailing_axes("mask", a.mask, (queries, keys), "queries by keys")
        leading["mask"] = a.mask.shape[:-2]
    channels_per_mode = 2 if paired else 1
    _check_value_frequency(a, channels_per_mode)
    sizes = _mode_axes(a, parameters, channels_per_mode)
    return broadcast_shape(leading | parameter_shapes(parameters, sizes))


def _check_anchor(a: Arguments) -> None:
    queries, keys = a.query.shape[-2], a.key.shape[-2]
    if not isinstance(a.sde, RadialTangentialSDE):
        if a.anchor is not None:
            kind = type(a.sde).__name__
            msg = f"`anchor` belongs to RadialTangentialSDE only, got {kind}. Leave it out."
            raise ValueError(msg)
    elif a.anchor is not None:
        check_axis("anchor", a.anchor, -2, queries, "the tokens of `query`")
        check_axis("anchor", a.anchor, -1, a.value.shape[-1], "the channels of `value`")
    elif queries != keys:
        msg = (
            f"`anchor` must be given, got None with {queries} queries and {keys} keys: pass the "
            "direction of each query's estimate, (..., n, c_v)."
        )
        raise ValueError(msg)


def _check_value_frequency(a: Arguments, channels_per_mode: int) -> None:
    modes, value_modes = (x.shape[-1] // channels_per_mode for x in (a.query, a.value))
    if isinstance(a.sde, DiagonalSDE) or a.sde.value_frequency is not None or modes == value_modes:
        return
    if shape_of(a.sde.frequency):
        msg = (
            f"`sde.value_frequency` must be given, got None with {value_modes} modes in "
            f"`value` and {modes} in `query`: pass one frequency a mode, or 0.0."
        )
        raise ValueError(msg)


def _mode_axes(
    a: Arguments, parameters: Mapping[str, Parameter], channels_per_mode: int
) -> dict[str, tuple[int, str]]:
    """Return which parameters have an axis of modes, how many, and the array that says so."""
    modes, value_modes = (x.shape[-1] // channels_per_mode for x in (a.query, a.value))
    diagonal = isinstance(a.sde, DiagonalSDE)
    sizes = {
        name: (modes, "query")
        for name in parameters
        if name == "sde.frequency" or (diagonal and name.startswith("sde."))
    }
    return sizes | {"sde.value_frequency": (value_modes, "value")}
