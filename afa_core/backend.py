"""Backends as values: how to host an array library, and why one cannot be used here.

Attention works on the arrays that it is given and needs no backend. Commands, benchmarks and the
conformance suite use one to create arrays, move them, compile and differentiate.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NoReturn, cast

import array_api_compat

from afa_core._array import deviceless
from afa_core._array.arrays import Array, dtype_name

__all__ = ["Backend", "load", "names"]

GROUP = "afa_core.backends"


@dataclass(frozen=True)
class Backend:
    """An array library as a value.

    Parameters
    ----------
    name : str
        Name of the library, such as ``"numpy"``.
    module : str
        Path of its array namespace, such as ``"jax.numpy"``.
    unavailable : str
        Why it cannot be used here; empty if it can.
    devices : tuple of str
        Its devices on this machine, the default first.
    from_numpy : callable
        ``from_numpy(array, device=None)``: a NumPy array as one of this library.
    to_numpy : callable
        ``to_numpy(array)``: an array of this library, on any device, as one of NumPy.
    compile : callable
        ``compile(function)``: the function compiled, or itself where there is no compiler.
    grad : callable or None
        ``grad(function, *arrays)``: the gradients of a scalar function of real arrays at these
        arrays, as a tuple; None where the library does not differentiate.
    vmap : callable or None
        ``vmap(function)``: the function mapped over a first axis of all its arrays and results;
        None where the library does not transform functions so.
    no_transfers : callable or None
        ``no_transfers()``: a context in which a transfer of values from a device to the host raises
        an error; None where the library cannot tell.
    """

    name: str
    module: str
    unavailable: str
    devices: tuple[str, ...]
    from_numpy: Callable[..., Array]
    to_numpy: Callable[[Array], Any]
    compile: Callable[[Callable[..., Any]], Callable[..., Any]]
    grad: Callable[..., tuple[Array, ...]] | None = None
    vmap: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    no_transfers: Callable[[], AbstractContextManager[Any]] | None = None

    @property
    def version(self) -> str:
        """Version of the library as imported, empty if it is unavailable."""
        if self.unavailable:
            return ""
        modules = (import_module(path) for path in (self.module, self.module.split(".")[0]))
        return str(next((x.__version__ for x in modules if hasattr(x, "__version__")), "unknown"))


def unusable(name: str, module: str, reason: str) -> Backend:
    """Return a backend that says why it cannot be used whenever it is asked to do something."""

    def refuse(*_: object, **__: object) -> NoReturn:
        msg = f"backend {name!r} cannot be used here: {reason}"
        raise RuntimeError(msg)

    return Backend(name, module, reason, (), refuse, refuse, refuse)


def gradients_by(grad: Callable[..., Any]) -> Callable[..., tuple[Array, ...]]:
    """Return `Backend.grad` by a transformation that is called as `jax.grad` is."""

    def gradients(function: Callable[..., Any], *arrays: Array) -> tuple[Array, ...]:
        found: tuple[Array, ...] = grad(function, tuple(range(len(arrays))))(*arrays)
        return found

    return gradients


def names() -> list[str]:
    """Return the names of the registered backends."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def load(name: str) -> Backend:
    """Return a registered backend, or host a bare array module such as ``array_api_strict``.

    Raises
    ------
    ValueError
        If `name` is neither registered nor an array module that can be imported.
    TypeError
        If what is registered under that name is no backend.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in found:
        backend = found[name].load()
        if not isinstance(backend, Backend):
            msg = (
                f"entry point {name!r} must name a Backend, got {type(backend).__name__}: correct "
                f"{found[name].value!r} in the package that registers it."
            )
            raise TypeError(msg)
        return backend
    try:
        return _host(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        listed = ", ".join(repr(each) for each in names())
        msg = (
            f"`name` must be a registered backend ({listed}) or the path of an array module, "
            f"got {name!r}: {error}."
        )
        raise ValueError(msg) from error


def _host(path: str) -> Backend:
    """Host any module with the functions of the standard, and what else it has of a backend's."""
    probe = import_module(path).asarray(0.0)
    numpy = import_module("numpy")

    def to_numpy(x: Any) -> Any:
        if hasattr(x, "unwrap_numpy"):  # ndonnx: numpy.asarray gives an array of objects
            return x.unwrap_numpy()
        home = info.default_device()
        if deviceless.device(x) not in (None, home):
            x = array_api_compat.to_device(x, home)
        brief = dtype_name(x.dtype) == "bfloat16"  # of which NumPy knows nothing
        return numpy.asarray(xp.astype(x, xp.float32) if brief else x)

    try:
        xp = deviceless.array_namespace(probe)
    except TypeError:
        return unusable(path, path, "its arrays have no namespace, which the array API asks for")
    info = xp.__array_namespace_info__()
    if to_numpy(probe).dtype == object:
        return unusable(path, path, "its arrays do not become NumPy's by `numpy.asarray`")
    found = {_device_name(each): each for each in (info.default_device(), *info.devices())}

    def from_numpy(x: Any, device: Any = None) -> Array:
        dtype = getattr(xp, numpy.asarray(x).dtype.name, None)  # not the library's default
        return cast(
            Array, xp.asarray(x, dtype=dtype, device=found.get(_device_name(device), device))
        )

    return Backend(
        name=path,
        module=path,
        unavailable="",
        devices=tuple(found),
        from_numpy=from_numpy,
        to_numpy=to_numpy,
        compile=getattr(xp, "compile", lambda function: function),
        grad=gradients_by(xp.grad) if hasattr(xp, "grad") else None,
        vmap=getattr(xp, "vmap", None),
    )


def _device_name(device: object) -> str:
    """Name a device: `library.Device('gpu')` is ``gpu``, MLX's `Device(gpu, 0)` ``gpu:0``."""
    written = str(device)
    if named := re.fullmatch(r".*\('(.*)'\)", written):
        return named[1]
    if numbered := re.fullmatch(r"Device\((\w+), (\d+)\)", written):
        return ":".join(numbered.groups())
    return "default" if re.fullmatch(r"<.* at 0x\w+>", written) else written
