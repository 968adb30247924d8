"""Arrays of any library: their type, namespace, precision and shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, cast

import array_api_compat

from afa_core._array import deviceless
from afa_core._array.containers import conversion, is_plain_array, kind_of

DType: TypeAlias = Any
Device: TypeAlias = Any


class Array(Protocol):
    """What the library asks of an array: the operators of the array API standard."""

    @property
    def dtype(self) -> Any: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Array: ...
    def __abs__(self) -> Array: ...
    def __neg__(self) -> Array: ...
    def __add__(self, other: Any, /) -> Array: ...
    def __radd__(self, other: Any, /) -> Array: ...
    def __sub__(self, other: Any, /) -> Array: ...
    def __rsub__(self, other: Any, /) -> Array: ...
    def __mul__(self, other: Any, /) -> Array: ...
    def __rmul__(self, other: Any, /) -> Array: ...
    def __truediv__(self, other: Any, /) -> Array: ...
    def __rtruediv__(self, other: Any, /) -> Array: ...
    def __pow__(self, other: Any, /) -> Array: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


class Namespace(Protocol):
    """What the library asks of a namespace: the functions and constants of the standard."""

    inf: Any
    nan: Any
    bool: Any
    int32: Any
    float32: Any
    float64: Any
    complex64: Any
    linalg: Any
    fft: Any
    finfo: Callable[..., Any]
    iinfo: Callable[..., Any]
    isdtype: Callable[..., Any]
    result_type: Callable[..., Any]

    def __array_namespace_info__(self) -> Any: ...
    def __getattr__(self, name: str, /) -> Callable[..., Array]: ...


Parameter: TypeAlias = Array | float
"""A model parameter: an array over the leading axes, or a Python number."""


def is_array(x: object) -> bool:
    """Whether `x` is an array of a library of the array API standard, and no container of one."""
    return is_plain_array(x)


def is_number(x: object) -> bool:
    """Whether `x` is a Python number, as NumPy's float64 is; a truth value is not one."""
    return isinstance(x, int | float) and not isinstance(x, bool)


def is_count(x: object) -> bool:
    """Whether a value is a Python integer of at least 1."""
    return isinstance(x, int) and not isinstance(x, bool) and x >= 1


def check_array(name: str, x: object) -> None:
    """Raise TypeError unless `x` is an array, ValueError unless its shape is known."""
    if not is_array(x):
        msg = (
            f"`{name}` must be an array of a library that follows the array API standard "
            f"(NumPy, PyTorch, JAX, CuPy, …), got {kind_of(x)}. {conversion(x)}"
        )
        raise TypeError(msg)
    shape = cast(Array, x).shape
    if any(size is None for size in shape):
        msg = (
            f"`{name}` must have a known shape, got {tuple(shape)}. Trace it for one size, pad "
            "shorter sequences to it, and mask the padding."
        )
        raise ValueError(msg)


def check_real(name: str, x: object) -> None:
    """Raise TypeError unless `x` is an array of a real floating dtype."""
    check_array(name, x)
    _check_floating(name, cast(Array, x))


def _check_floating(name: str, x: Array) -> None:
    dtype = x.dtype
    if not deviceless.array_namespace(x).isdtype(dtype, "real floating"):
        msg = f"`{name}` must have a real floating dtype, got {dtype_name(dtype)}. Cast it first."
        raise TypeError(msg)


def check_parameter(name: str, x: object) -> None:
    """Raise TypeError unless `x` is a Python number or an array of a real floating dtype."""
    if is_number(x):
        return
    if is_array(x):
        _check_floating(name, cast(Array, x))
    else:
        msg = (
            f"`{name}` must be a Python number or an array of a real floating dtype, "
            f"got {kind_of(x)}. {conversion(x)}"
        )
        raise TypeError(msg)


def namespace(**arrays: object) -> Namespace:
    """Return the namespace shared by the named arrays.

    Python numbers take no part; NumPy's float64, which is one, only where no array does.

    Raises
    ------
    TypeError
        If an argument is not an array, or two come from different libraries.
    """
    first: str = ""
    xp: Namespace | None = None
    others = {name: x for name, x in arrays.items() if not is_number(x)}
    for name, x in (others or {name: x for name, x in arrays.items() if is_array(x)}).items():
        check_array(name, x)
        own = deviceless.array_namespace(x)
        if xp is None:
            first, xp = name, own
        elif own is not xp:
            msg = (
                f"`{name}` must come from the same array library as `{first}` "
                f"({library_name(xp)}), got {library_name(own)}. Convert one of the two."
            )
            raise TypeError(msg)
    if xp is None:
        names = ", ".join(f"`{name}`" for name in arrays)
        msg = f"one of {names} must be an array, got Python numbers only. Convert one of them."
        raise TypeError(msg)
    return xp


def library_name(xp: Namespace) -> str:
    """Name the library of a namespace as its users do: ``numpy``, ``torch``, ``jax``, ``cupy``."""
    return str(cast(Any, xp).__name__).removeprefix("array_api_compat.").split(".")[0]


def dtype_name(dtype: DType) -> str:
    """Name a dtype alike in every library: ``float32``, not ``torch.float32``."""
    return str(dtype).rsplit(".", maxsplit=1)[-1]


def device_of(x: Array) -> Device:
    """Return where new arrays must be created to meet `x` (None where nothing need be said)."""
    return deviceless.device(x)


def check_devices(xp: Namespace, **arrays: object) -> None:
    """Raise ValueError if two of the named arrays, beside Python numbers, are on different devices.

    JAX places arrays itself (and reports its own errors), so it is left to do so.
    """
    if array_api_compat.is_jax_namespace(cast(Any, xp)):
        return
    first, device = "", None
    for name, x in arrays.items():
        if is_number(x):
            continue
        own = device_of(cast(Array, x))
        if device is None:
            first, device = name, own
        elif own != device:
            msg = (
                f"`{name}` must be on the same device as `{first}` ({device}), got {own}. "
                "Move one of the two."
            )
            raise ValueError(msg)


def compute_dtype(xp: Namespace, *arrays: Array) -> DType:
    """Return the real dtype to compute in: that of the arrays, at least single precision."""
    bits = max(xp.finfo(x.dtype).bits for x in arrays)
    return xp.float64 if bits > 32 else xp.float32


def wide_dtype(xp: Namespace, device: Device) -> DType:
    """Return the widest real dtype of a device: double precision where there is one.

    Times and angles are formed in it, because a rotation by ωt loses log₂(ωt) bits.
    """
    floating = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return floating.get("float64", xp.float32)


def wide_integer(xp: Namespace, device: Device) -> DType:
    """Return the widest signed integer dtype of a device."""
    integers = xp.__array_namespace_info__().dtypes(device=device, kind="signed integer")
    return integers.get("int64", xp.int32)


def complex_dtype(xp: Namespace, dtype: DType) -> DType:
    """Return the complex dtype whose parts have the real `dtype`."""
    return xp.result_type(dtype, xp.complex64)


def shape_of(parameter: Parameter) -> tuple[int, ...]:
    """Return the shape of a parameter, () for a Python number."""
    return () if is_number(parameter) else tuple(cast(Array, parameter).shape)


def with_rank(x: Array, rank: int) -> Array:
    """Return an array with `rank` axes, those in front that it lacks of length one.

    An array that lacks none is returned itself. JAX may be set to refuse arrays of different ranks
    in one operation (`jax.numpy_rank_promotion`).
    """
    return x if x.ndim >= rank else x[(*(None,) * (rank - x.ndim), ...)]


def in_one_rank(*parameters: Parameter) -> tuple[Any, ...]:
    """Return parameters of which all arrays with axes have as many as the one with most."""
    rank = max(len(shape_of(x)) for x in parameters)
    return tuple(with_rank(cast(Array, x), rank) if shape_of(x) else x for x in parameters)


def append_axes(parameter: Parameter, count: int) -> Parameter:
    """Append `count` axes of length one: (...,) to (..., 1, …, 1)."""
    if is_number(parameter):
        return float(cast(float, parameter))  # NumPy's float64 mixes with no other library
    return cast(Array, parameter)[(..., *(None,) * count)]


def insert_axes(parameter: Parameter, count: int) -> Parameter:
    """Insert `count` axes of length one before the last: (..., d) to (..., 1, …, 1, d)."""
    if is_number(parameter):
        return float(cast(float, parameter))
    if cast(Array, parameter).ndim == 0:
        return parameter
    return cast(Array, parameter)[(..., *(None,) * count, slice(None))]


def positive_part(x: Array, *, xp: Namespace) -> Array:
    """Return max(0, x); NaN stays NaN."""
    return xp.where(x < 0.0, 0.0, x)


def broadcast_shape(
    shapes: Mapping[str, tuple[int, ...]], what: str = "leading axes (batch, heads)"
) -> tuple[int, ...]:
    """Return the shape that the named shapes broadcast to.

    Raises
    ------
    ValueError
        If two of them do not broadcast.
    """
    rank = max(len(shape) for shape in shapes.values())
    result: list[int] = []
    for axis in range(-rank, 0):
        sizes = {
            name: shape[axis]
            for name, shape in shapes.items()
            if len(shape) >= -axis and shape[axis] != 1
        }
        common = next(iter(sizes.values()), 1)
        if any(size != common for size in sizes.values()):  # symbols need not be hashable
            arrived = ", ".join(
                f"`{name}` {tuple(shape)}" for name, shape in shapes.items() if shape
            )
            msg = (
                f"{what} must broadcast against each other, got {arrived}. "
                "Insert axes of length 1 or expand one of them."
            )
            raise ValueError(msg)
        result.append(common)
    return tuple(result)
