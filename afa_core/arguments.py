"""The arguments of attention and their checks: kinds, shapes and devices, never values.

Values are not checked here, because reading them would break tracing and wait for the device;
`sde.validate()` and `weighting.validate()` do it on request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypedDict, get_args

from afa_core.arrays import (
    Array,
    Namespace,
    Parameter,
    broadcast_shape,
    check_devices,
    dtype_name,
    is_array,
    is_number,
    namespace,
)
from afa_core.pairs import Layout
from afa_core.sde import SDE, DiagonalSDE, RadialTangentialSDE
from afa_core.weighting import StudentT, Weighting


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


def check(a: Arguments) -> Namespace:
    """Return the common namespace of the arguments after checking everything but values.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.
    """
    _check_kinds(a)
    arrays = {
        "query": a.query,
        "key": a.key,
        "value": a.value,
        "anchor": a.anchor,
        "mask": a.mask,
        "query_times": a.query_times,
        "key_times": a.key_times,
    }
    for name, x in arrays.items():
        if not is_array(x) and (x is not None or name in ("query", "key", "value")):
            msg = f"`{name}` must be an array, got {type(x).__name__}. Convert it first."
            raise TypeError(msg)
    parameters = {
        **dict(_leaves("sde", a.sde)),
        **dict(_leaves("weighting", a.weighting)),
        "inverse_temperature": a.inverse_temperature,
    }
    xp = namespace(**arrays, **parameters)
    check_devices(xp, **arrays, **parameters)
    _check_dtypes(a, parameters, xp=xp)
    _check_shapes(a, parameters, xp=xp)
    return xp


def check_layout(layout: object, accepted: tuple[str, ...] = get_args(Layout)) -> None:
    """Raise ValueError unless `layout` is one of the accepted names."""
    if layout not in accepted:
        names = ", ".join(repr(name) for name in accepted)
        msg = f"`layout` must be one of {names}, got {layout!r}."
        raise ValueError(msg)


def check_floating(xp: Namespace, name: str, x: Array) -> str:
    """Return ``"complex"`` or ``"real"`` for a floating array, else raise TypeError."""
    if xp.isdtype(x.dtype, "complex floating"):
        return "complex"
    if xp.isdtype(x.dtype, "real floating"):
        return "real"
    msg = (
        f"`{name}` must have a real or complex floating dtype, got {dtype_name(x.dtype)}. "
        "Cast it first."
    )
    raise TypeError(msg)


def check_width(name: str, x: Array, *, paired: bool) -> None:
    """Raise ValueError unless `x` is (..., tokens, channels), its channels even if paired."""
    if x.ndim < 2 or x.shape[-1] == 0:
        msg = f"`{name}` must have shape (..., tokens, channels ≥ 1), got {tuple(x.shape)}."
        raise ValueError(msg)
    if paired and x.shape[-1] % 2:
        msg = (
            f"`{name}` must have an even last axis, (re, im) pairs of complex modes, got shape "
            f"{tuple(x.shape)}. Pass a complex array, or add the imaginary parts."
        )
        raise ValueError(msg)


def check_axis(name: str, x: Array, axis: int, size: int, reason: str) -> None:
    """Raise ValueError unless axis `axis`, counted from the end, has the expected size."""
    if x.ndim < -axis or x.shape[axis] != size:
        trailing = "".join(f", {length}" for length in x.shape[x.ndim + axis + 1 :])
        msg = (
            f"`{name}` must have shape (..., {size}{trailing}) to match {reason}, "
            f"got {tuple(x.shape)}."
        )
        raise ValueError(msg)


def _check_kinds(a: Arguments) -> None:
    for name, x, union in (("sde", a.sde, SDE), ("weighting", a.weighting, Weighting)):
        if not isinstance(x, get_args(union)):
            names = ", ".join(kind.__name__ for kind in get_args(union))
            msg = f"`{name}` must be one of {names}, got {type(x).__name__}. Construct one."
            raise TypeError(msg)
    check_layout(a.layout)
    if not isinstance(a.causal, bool):
        msg = f"`causal` must be True or False, got {type(a.causal).__name__}. See also `mask`."
        raise TypeError(msg)


def _leaves(prefix: str, x: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of nested NamedTuples with their dotted names; None is left out."""
    if isinstance(x, tuple) and hasattr(x, "_asdict"):
        for field, value in x._asdict().items():
            yield from _leaves(f"{prefix}.{field}", value)
    elif x is not None:
        yield prefix, x


def _check_dtypes(a: Arguments, parameters: Mapping[str, Any], *, xp: Namespace) -> None:
    kind = check_floating(xp, "query", a.query)
    for name, x in (("key", a.key), ("value", a.value), ("anchor", a.anchor)):
        if x is not None and check_floating(xp, name, x) != kind:
            msg = (
                f"`{name}` must be {kind} like `query`, got {dtype_name(x.dtype)}. Pass complex "
                "arrays for all of them, or real pairs for all of them."
            )
            raise TypeError(msg)
    for name, x in parameters.items():
        if not is_number(x) and not xp.isdtype(x.dtype, "real floating"):
            msg = (
                f"`{name}` must be a Python number or have a real floating dtype, "
                f"got {dtype_name(x.dtype)}. Cast it first."
            )
            raise TypeError(msg)
    for name, x in (("query_times", a.query_times), ("key_times", a.key_times)):
        if x is not None and not xp.isdtype(x.dtype, ("real floating", "signed integer")):
            msg = (
                f"`{name}` must have a real floating or signed integer dtype, "
                f"got {dtype_name(x.dtype)}. Cast it first."
            )
            raise TypeError(msg)
    if a.mask is not None and not xp.isdtype(a.mask.dtype, "bool"):
        msg = (
            f"`mask` must be boolean (True attends), got {dtype_name(a.mask.dtype)}. "
            "Compare it with something first."
        )
        raise TypeError(msg)


def _check_shapes(a: Arguments, parameters: Mapping[str, Any], *, xp: Namespace) -> None:
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
        _check_mask(a.mask, queries, keys)
        leading["mask"] = a.mask.shape[:-2]
    broadcast_shape(leading | _parameter_shapes(a, parameters, 2 if paired else 1))


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


def _check_mask(mask: Array, queries: int, keys: int) -> None:
    sizes = zip(reversed(mask.shape), (keys, queries), strict=False)
    if any(own not in (1, size) for own, size in sizes):
        msg = (
            f"`mask` must broadcast to (..., {queries}, {keys}), queries by keys, "
            f"got {tuple(mask.shape)}. Give axes that do not vary length 1."
        )
        raise ValueError(msg)


def _parameter_shapes(
    a: Arguments, parameters: Mapping[str, Any], channels_per_mode: int
) -> dict[str, tuple[int, ...]]:
    """Return the leading shape of each array parameter, after checking its axis of modes."""
    modes = a.query.shape[-1] // channels_per_mode
    value_modes = a.value.shape[-1] // channels_per_mode
    if "sde.value_frequency" not in parameters and not isinstance(a.sde, DiagonalSDE):
        frequency = parameters["sde.frequency"]
        if modes != value_modes and not is_number(frequency) and frequency.ndim:
            msg = (
                f"`sde.value_frequency` must be given, got None with {value_modes} modes in "
                f"`value` and {modes} in `query`: pass one frequency a mode, or 0.0."
            )
            raise ValueError(msg)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, x in parameters.items():
        per_mode = name.endswith("frequency") or (
            name.startswith("sde.") and isinstance(a.sde, DiagonalSDE)
        )
        if is_number(x) or not x.ndim:
            continue
        if per_mode:
            of = "value" if name == "sde.value_frequency" else "query"
            size = value_modes if of == "value" else modes
            check_axis(name, x, -1, size, f"the modes of `{of}`")
        shapes[name] = x.shape[:-1] if per_mode else x.shape
    return shapes
