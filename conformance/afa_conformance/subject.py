"""The implementation under test, with the arrays, device and dtype that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import numpy as np

import afa_core
from afa_conformance.closeness import compare
from afa_conformance.descriptions import CHOICES, DTYPES, HALVES, SIZES, TIMES
from afa_conformance.limits import UNSUPPORTED, Supports
from afa_conformance.recorder import Recorder
from afa_core._array.arrays import device_of, namespace, wide_dtype, wide_integer
from afa_core.backend import Backend
from afa_core.implementations import IMPLEMENTATIONS

NAMES = ("auto", *(each.name for each in IMPLEMENTATIONS))
DECLARABLE: dict[str, tuple[Any, ...]] = CHOICES | {
    "dtype": DTYPES,
    "times": TIMES,
    "size": SIZES,
    "gradients": (True, False),
}
"""Fields that `supports` may name, with their values."""
COUNTS = ("modes", "value_modes")
"""Fields that `supports` may name, with any positive numbers."""


@dataclass(frozen=True, repr=False)
class Subject:
    """An implementation under test.

    Parameters
    ----------
    backend : Backend
        The library whose arrays it is given.
    implementation : str
        One of this library's, or ``module:function``.
    attention : callable
        With the signature of `afa_core.attention`.
    estimate : callable or None
        With the signature of `afa_core.estimate`; without it precisions are not tested.
    device : str or None
        Where arrays are sent; None is the library's default.
    dtype : str
        Dtype in which laws draw their numbers.
    supports : mapping
        From a field of `Description` to the values it can run, where not all.
    tiles : tuple of int
        Sizes of its tiles, in tokens: laws on sizes test lengths beside them.
    compiled : bool
        Whether attention runs compiled by `Backend.compile`.
    recorder : Recorder
        Records the comparisons of the law that is running.
    programs : dict
        What has been compiled so far, by what it was compiled for.
    """

    backend: Backend
    implementation: str
    attention: Callable[..., Any]
    estimate: Callable[..., Any] | None
    device: str | None = None
    dtype: str = "float64"
    supports: Supports = field(default_factory=dict)
    tiles: tuple[int, ...] = ()
    compiled: bool = False
    recorder: Recorder = field(default_factory=Recorder)
    programs: dict[Any, Callable[..., Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.implementation} on {self.name}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @property
    def name(self) -> str:
        """Name of the array library."""
        return self.backend.name

    @property
    def own(self) -> bool:
        """Whether it is one of afa_core's, so that laws on other functions of afa_core apply."""
        return self.implementation in NAMES

    @property
    def grad(self) -> Callable[..., tuple[Any, ...]] | None:
        """`Backend.grad`; None where the library or the implementation has no gradients."""
        return self.backend.grad if True in self.supports.get("gradients", (True,)) else None

    @property
    def compile(self) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """`Backend.compile`."""
        return self.backend.compile

    @property
    def holds_values(self) -> bool:
        """Whether results can be read; torch's meta device has shapes only."""
        return self.device != "meta"

    def lacks(self, feature: str) -> str:
        """Return why a law that needs a feature is skipped, or an empty string."""
        if feature == "gradients" and self.backend.grad is None:
            return f"{self.name} does not differentiate"
        missing = {
            "library": (not self.own, "the law is about other functions of afa_core"),
            "precision": (self.estimate is None, "it has no `estimate`, so no precision"),
            "float64": (self.dtype != "float64", f"{self.dtype}: the law needs float64"),
            "wide times": (not self.wide, "the device has no float64 for times"),
            "gradients": (self.grad is None, "gradients"),
        }
        absent, why = missing[feature]
        return f"{UNSUPPORTED}{why}" if absent else ""

    def assert_close(
        self, actual: Any, expected: Any, tolerance: float, *, scale: float | None = None
    ) -> None:
        """Raise AssertionError where |actual − expected| > tolerance × scale; record the error.

        The scale is by default the largest finite magnitude of `expected`, or 1 if it is zero.
        """
        comparison = compare(actual, expected, tolerance, scale=scale)
        if comparison is not None:
            self.recorder.add(comparison)
            comparison.check()

    def from_numpy(self, x: Any) -> Any:
        """Send an array to the device."""
        return self.backend.from_numpy(x, device=self.device)

    def to_numpy(self, x: Any) -> Any:
        """Copy an array to the host."""
        return self.backend.to_numpy(x)

    def has(self, dtype: str) -> bool:
        """Return whether the library has a dtype of this name."""
        return hasattr(namespace(probe=self._probe), dtype)

    def refusal(self, features: Mapping[str, Any]) -> str:
        """Return the first of these features that is declared unsupported, or an empty string."""
        for name, value in features.items():
            if value not in self.supports.get(name, (value,)):
                return f"{name} {value!r}"
        return ""

    @property
    def complex(self) -> bool:
        """Whether there are complex numbers of its dtype: not of half precision."""
        return self.dtype not in HALVES and self.has("complex64")

    @property
    def wide(self) -> bool:
        """Whether the device has double precision."""
        return bool(self.times_dtypes["f"] == np.float64)

    @cached_property
    def times_dtypes(self) -> Mapping[str, np.dtype[Any]]:
        """The widest dtypes of the device for times, floating ``"f"`` and integer ``"i"``."""
        xp, device = namespace(probe=self._probe), device_of(self._probe)
        real = "f8" if wide_dtype(xp, device) == xp.float64 else "f4"
        integer = "i8" if wide_integer(xp, device) == xp.int64 else "i4"
        return {"f": np.dtype(real), "i": np.dtype(integer)}

    @cached_property
    def _probe(self) -> Any:
        """An array of the library on the device, to inspect."""
        return self.from_numpy(np.zeros(1, dtype=bool))


def load_subject(
    backend: Backend,
    implementation: str = "auto",
    *,
    device: str | None = None,
    dtype: str | None = None,
    compiled: bool = False,
    tile: int | None = None,
    recorder: Recorder | None = None,
) -> Subject:
    """Return the implementation of that name, with what it declares.

    A function may have the attributes `supports`, `estimate` and `tiles` (see `Subject`). `tile`
    is the size of tiles for implementations of afa_core.

    Raises
    ------
    ValueError
        If the device, the name or the function does not exist, or does not support the dtype.
    TypeError
        If what is found is not callable, or what it declares cannot be understood.
    """
    if device is not None and device not in (*backend.devices, *UNLISTED.get(backend.name, ())):
        listed = ", ".join(repr(each) for each in backend.devices)
        msg = f"`device` must be one of {listed} for backend {backend.name!r}, got {device!r}."
        raise ValueError(msg)
    function, estimate = _find(implementation, tile)
    supports = _declared(implementation, getattr(function, "supports", {}))
    subject = Subject(
        backend,
        implementation,
        function,
        estimate,
        device=device,
        supports=supports,
        tiles=_tiles(implementation, (tile,) if tile else getattr(function, "tiles", ())),
        compiled=compiled,
        recorder=recorder or Recorder(),
    )
    possible = [each for each in DTYPES if each in supports.get("dtype", DTYPES)]
    if not subject.wide and "float64" in possible:
        possible.remove("float64")
    if dtype is not None and dtype not in possible:
        listed = ", ".join(repr(each) for each in possible)
        msg = f"`dtype` must be one of {listed} here, got {dtype!r}."
        raise ValueError(msg)
    return replace(subject, dtype=dtype or possible[0])


UNLISTED = {"torch": ("meta",)}
"""Devices that exist although no array can be computed on them."""


def _find(
    implementation: str, tile: int | None
) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """Return attention and estimate of an implementation."""
    if implementation in NAMES:
        chosen: dict[str, Any] = {"implementation": implementation}
        chosen |= {"tile": tile} if tile else {}
        return partial(afa_core.attention, **chosen), partial(afa_core.estimate, **chosen)
    if tile:
        msg = f"`tile` is for this library's implementations, got {tile} for {implementation!r}."
        raise ValueError(msg)
    module, _, name = implementation.partition(":")
    listed = ", ".join(repr(each) for each in NAMES)
    expected = f"`implementation` must be one of {listed} or 'module:function'"
    if not (module and name):
        msg = f"{expected}, got {implementation!r}."
        raise ValueError(msg)
    try:
        function = import_module(module)
        for each in name.split("."):
            function = getattr(function, each)
    except Exception as error:  # whatever the module does when it is imported
        msg = f"{expected} that can be imported, got {implementation!r}: {error}."
        raise ValueError(msg) from error
    if not callable(function):
        msg = f"{expected} that can be called, got {implementation!r}: {type(function).__name__}."
        raise TypeError(msg)
    estimate = getattr(function, "estimate", None)
    if estimate is not None and not callable(estimate):
        msg = f"`estimate` of {implementation} must be callable, got {type(estimate).__name__}."
        raise TypeError(msg)
    return function, estimate


def _tiles(implementation: str, tiles: Any) -> tuple[int, ...]:
    """Check the sizes of tiles that an implementation declares."""
    if not isinstance(tiles, tuple | list) or any(type(x) is not int or x < 1 for x in tiles):
        msg = f"`tiles` of {implementation} must be a tuple of numbers of tokens, got {tiles!r}."
        raise TypeError(msg)
    return tuple(tiles)


def _declared(implementation: str, supports: Any) -> Supports:
    """Check what an implementation declares that it supports."""
    if not isinstance(supports, Mapping):
        kind = type(supports).__name__
        msg = f"`supports` of {implementation} must map names to tuples of values, got {kind}."
        raise TypeError(msg)
    for name, values in supports.items():
        known = (*DECLARABLE, *COUNTS)
        if name not in known:
            listed = ", ".join(repr(each) for each in known)
            msg = f"`supports` of {implementation} may name {listed}, got {name!r}."
            raise TypeError(msg)
        choices: Any = DECLARABLE.get(name, values)
        if (
            not isinstance(values, tuple | list)
            or not values
            or any(x not in choices for x in values)
        ):
            expected = "numbers of modes" if name in COUNTS else f"values among {choices!r}"
            msg = (
                f"`supports[{name!r}]` of {implementation} must be a tuple of {expected}, "
                f"got {values!r}."
            )
            raise TypeError(msg)
    return {name: tuple(values) for name, values in supports.items()}
