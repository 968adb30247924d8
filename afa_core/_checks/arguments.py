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
    check_real,
    namespace,
    shape_of,
)
from afa_core._array.pairs import Layout
from afa_core._checks.evaluation import check_tolerance
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
    RadialTangential,
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
    correlated: bool = False
    query_variance: Array | RadialTangential | None = None
    tolerance: float | None = None

    @property
    def tokens(self) -> dict[str, Array]:
        """The arrays of modes that were given, by name."""
        tokens = {"query": self.query, "key": self.key, "value": self.value}
        return tokens if self.anchor is None else tokens | {"anchor": self.anchor}

    @property
    def variances(self) -> dict[str, Any]:
        """The variances of queries that were given, by name."""
        given = self.query_variance
        if isinstance(given, RadialTangential) and isinstance(self.sde, RadialTangentialSDE):
            return {f"query_variance.{name}": x for name, x in given._asdict().items()}
        return {} if given is None else {"query_variance": given}


class ProblemOptions(TypedDict, total=False):
    """The keyword arguments of `attention` that say what is computed."""

    weighting: Weighting
    inverse_temperature: Parameter
    query_times: Array | None
    key_times: Array | None
    causal: bool
    mask: Array | None
    anchor: Array | None
    layout: Layout
    correlated: bool
    query_variance: Array | RadialTangential | None


class Options(ProblemOptions, total=False):
    """The keyword arguments of `attention`, for the functions that take the same ones."""

    tolerance: float | None


def collect_arguments(
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


def check(arguments: Arguments) -> tuple[Namespace, tuple[int, ...]]:
    """Check as `leading_axes` does; return the namespace and what all leading axes broadcast to."""
    xp, shapes = leading_axes(arguments)
    return xp, broadcast_shape(shapes)


def leading_axes(arguments: Arguments) -> tuple[Namespace, dict[str, tuple[int, ...]]]:
    """Check everything but values; return the namespace, and the leading axes by argument.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.
    """
    _check_kinds(arguments)
    optional = {
        "mask": arguments.mask,
        "query_times": arguments.query_times,
        "key_times": arguments.key_times,
    }
    arrays = arguments.tokens | {name: x for name, x in optional.items() if x is not None}
    for name, x in arrays.items():
        check_array(name, x)
    for name, x in arguments.variances.items():
        check_real(name, x)
    arrays |= arguments.variances
    parameters = {
        **parameters_of(arguments.sde, "sde."),
        **parameters_of(arguments.weighting, "weighting."),
        "inverse_temperature": arguments.inverse_temperature,
    }
    check_parameter("inverse_temperature", arguments.inverse_temperature)
    xp = namespace(**arrays, **parameters)
    check_devices(xp, **arrays, **parameters)
    _check_dtypes(arguments, xp=xp)
    return xp, _check_shapes(arguments, parameters, xp=xp)


def _check_kinds(arguments: Arguments) -> None:
    check_sde(arguments.sde)
    check_instance("weighting", arguments.weighting, *get_args(Weighting))
    check_layout(arguments.layout)
    for name, remedy in (("causal", "Convert it, or pass a `mask`"), ("correlated", "Convert it")):
        value = getattr(arguments, name)
        if not isinstance(value, bool):
            msg = f"`{name}` must be True or False, got {value!r}. {remedy}."
            raise TypeError(msg)
    check_tolerance(arguments.tolerance, correlated=arguments.correlated)
    given = arguments.query_variance
    if given is not None and isinstance(arguments.sde, RadialTangentialSDE):
        check_instance("query_variance", given, RadialTangential)


def _check_dtypes(arguments: Arguments, *, xp: Namespace) -> None:
    check_same_kind(arguments.tokens, xp=xp)
    for name, x in (("query_times", arguments.query_times), ("key_times", arguments.key_times)):
        if x is not None:
            check_times(name, x, xp=xp)
    if arguments.mask is not None:
        check_boolean("mask", arguments.mask, xp=xp)


def _check_shapes(
    arguments: Arguments, parameters: Mapping[str, Parameter], *, xp: Namespace
) -> dict[str, tuple[int, ...]]:
    """Check the shapes of all arrays; return their leading axes by name."""
    query, key, value, sde = arguments[:4]
    paired = bool(xp.isdtype(query.dtype, "real floating"))
    for name, x in arguments.tokens.items():
        check_width(name, x, paired=paired)
    check_axis("key", key, -1, query.shape[-1], "the channels of `query`")
    check_axis("value", value, -2, key.shape[-2], "the tokens of `key`")
    if isinstance(sde, DiagonalSDE):
        check_axis("value", value, -1, query.shape[-1], "`query`: all share the modes")
    _check_anchor(arguments)
    leading = {name: x.shape[:-2] for name, x in arguments.tokens.items()}
    modes, value_modes = (x.shape[-1] // (2 if paired else 1) for x in (query, value))
    leading |= _check_times_and_mask(arguments) | _check_variances(arguments, modes)
    _check_value_frequency(sde, modes, value_modes)
    sizes = _mode_axes(sde, parameters, modes, value_modes)
    return leading | parameter_shapes(parameters, sizes)


def _check_times_and_mask(arguments: Arguments) -> dict[str, tuple[int, ...]]:
    """Check the trailing axes of times and mask; return their leading axes by name."""
    queries, keys = arguments.query.shape[-2], arguments.key.shape[-2]
    leading = {}
    for name, times, size in (
        ("query_times", arguments.query_times, queries),
        ("key_times", arguments.key_times, keys),
    ):
        if times is not None:
            check_axis(name, times, -1, size, f"the tokens of `{name.removesuffix('_times')}`")
            leading[name] = times.shape[:-1]
    mask = arguments.mask
    if mask is not None:
        check_trailing_axes("mask", mask, (queries, keys), "queries by keys")
        leading["mask"] = mask.shape[:-2]
        if arguments.correlated and mask.ndim > 1 and mask.shape[-2] != 1:
            msg = (
                "`mask` must have shape (..., 1, m) with `correlated`, since a filter has one set "
                f"of measurements for all queries, got {tuple(mask.shape)}. Pass a mask of keys, "
                "or `correlated=False`."
            )
            raise ValueError(msg)
    return leading


def _check_variances(arguments: Arguments, modes: int) -> dict[str, tuple[int, ...]]:
    """Check the trailing axes of the variances of queries; return their leading axes by name."""
    queries, leading = arguments.query.shape[-2], {}
    for name, x in arguments.variances.items():
        if isinstance(arguments.sde, DiagonalSDE):
            if x.shape[-2:] not in ((queries, 1), (queries, modes)):
                msg = (
                    f"`{name}` must have shape (..., {queries}, 1) or (..., {queries}, {modes}), a "
                    f"variance for each query or for each of its modes, got {tuple(x.shape)}."
                )
                raise ValueError(msg)
            leading[name] = x.shape[:-2]
        else:
            check_axis(name, x, -1, queries, "the tokens of `query`")
            leading[name] = x.shape[:-1]
    return leading


def _check_anchor(arguments: Arguments) -> None:
    query, key, value, sde = arguments[:4]
    anchor, queries, keys = arguments.anchor, query.shape[-2], key.shape[-2]
    if not isinstance(sde, RadialTangentialSDE):
        if anchor is not None:
            kind = type(sde).__name__
            msg = f"`anchor` belongs to RadialTangentialSDE only, got {kind}. Leave it out."
            raise ValueError(msg)
    elif anchor is not None:
        check_axis("anchor", anchor, -2, queries, "the tokens of `query`")
        check_axis("anchor", anchor, -1, value.shape[-1], "the channels of `value`")
    elif queries != keys:
        msg = (
            f"`anchor` must be given, got None with {queries} queries and {keys} keys: pass the "
            "direction of each query's estimate, (..., n, c_v)."
        )
        raise ValueError(msg)


def _check_value_frequency(sde: SDE, modes: int, value_modes: int) -> None:
    if isinstance(sde, DiagonalSDE) or sde.value_frequency is not None or modes == value_modes:
        return
    if shape_of(sde.frequency):
        msg = (
            f"`sde.value_frequency` must be given, got None with {value_modes} modes in "
            f"`value` and {modes} in `query`: pass one frequency a mode, or 0.0."
        )
        raise ValueError(msg)


def _mode_axes(
    sde: SDE, parameters: Mapping[str, Parameter], modes: int, value_modes: int
) -> dict[str, tuple[int, str]]:
    """Return which parameters have an axis of modes, its length, and the array it must match."""
    diagonal = isinstance(sde, DiagonalSDE)
    sizes = {
        name: (modes, "query")
        for name in parameters
        if name == "sde.frequency" or (diagonal and name.startswith("sde."))
    }
    return sizes | {"sde.value_frequency": (value_modes, "value")}
