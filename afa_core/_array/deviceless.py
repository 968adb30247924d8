"""Libraries whose arrays have no device, as those of MLX, whose memory all processors share.

They follow the standard but for what it says of devices and copies: this adds the keywords that
they leave out. The functions are the library's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import array_api_compat

CREATION = (
    "arange", "asarray", "empty", "empty_like", "eye", "full", "full_like", "linspace", "ones",
    "ones_like", "zeros", "zeros_like",
)  # fmt: skip


class Deviceless:
    """The namespace of such a library."""

    def __init__(self, xp: Any) -> None:
        self.__name__ = xp.__name__
        self.bool = xp.bool_
        self.own = xp
        for name in CREATION:
            setattr(self, name, _on_no_device(getattr(xp, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def __array_namespace_info__(self) -> _Info:
        return _Info(self.own.__array_namespace_info__())

    def astype(self, x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
        """Return the array in another dtype."""
        return self.own.astype(x, dtype)


class _Info:
    """What such a library has, without double precision.

    MLX has arrays of it, but no exponentials, sines and cosines.
    """

    def __init__(self, own: Any) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """Return the dtypes of a kind by name."""
        found = self.own.dtypes(device=device, kind=kind)
        return {name: dtype for name, dtype in found.items() if name != "float64"}


def _on_no_device(create: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(create)
    def created(*arguments: Any, device: None = None, **options: Any) -> Any:
        return create(*arguments, **options)

    return created


_completed = cache(Deviceless)
_by_type: dict[type, Any] = {}


def known_namespace(kind: type) -> Any:
    """Return the namespace of the arrays of a type, None if none of them was seen so far."""
    return _by_type.get(kind)


def array_namespace(x: Any) -> Any:
    """Return the namespace of an array, completed where its arrays have no device."""
    kind = type(x)
    if kind not in _by_type:
        xp: Any = array_api_compat.array_namespace(x)
        try:
            array_api_compat.device(x)
        except AttributeError:
            xp = _completed(xp)
        _by_type[kind] = xp
    return _by_type[kind]


def device(x: Any) -> Any:
    """Return where an array is, if new arrays must be created there to meet it, else None.

    None where arrays have no device, inside a JAX trace, and for arrays of JAX that are committed
    to no device, or to several: how an array is divided among them is no place for arrays of other
    shapes. New ones
    of which nothing is said go where they are used.
    """
    try:
        where = array_api_compat.device(x)
    except AttributeError:
        return None
    if where is None or hasattr(where, "device_set"):
        return None
    return where if getattr(x, "committed", True) else None
