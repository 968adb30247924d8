"""Loads the implementation under test, and checks what it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial, wraps
from importlib import import_module
from typing import Any

import afa_core
from afa_conformance.descriptions import CHOICES, DTYPES, SIZES, TIMES
from afa_conformance.exports import exporting
from afa_conformance.limits import Supports
from afa_conformance.recorder import Recorder
from afa_conformance.subject import NAMES, VALUELESS, Subject
from afa_core.backend import Backend

DECLARABLE: dict[str, tuple[Any, ...]] = CHOICES | {
    "dtype": DTYPES,
    "times": TIMES,
    "size": SIZES,
    "gradients": (True, False),
    "vmap": (True, False),
    "correlated": (True, False),
    "query_variance": (True, False),
    "tolerance": (True, False),
}
"""Fields that `supports` may name, with their values."""
LIMITED: dict[str, Supports] = {
    "triton": {
        "form": ("isotropic", "radial_tangential"),
        "dtype": ("float32", "float16", "bfloat16"),
    },
    "pallas": {
        "form": ("isotropic",),
        "dtype": ("float32", "float16", "bfloat16"),
    },
}
"""What implementations of afa_core support that do not run every problem."""
OPTIONAL = ("correlated", "query_variance", "tolerance")
"""Fields of which an implementation supports nothing but False unless it says so."""
BATCH = 20
"""How many problems share a program where a library compiles functions."""
COUNTS = ("modes", "value_modes")
"""Fields that `supports` may name, with any positive numbers."""


def load_subject(
    backend: Backend,
    implementation: str = "auto",
    *,
    device: str | None = None,
    dtype: str | None = None,
    compiled: bool = False,
    exported: bool = False,
    tile: int | None = None,
    recorder: Recorder | None = None,
) -> Subject:
    """Return the implementation of that name, with what it declares.

    A function may have the attributes `supports`, `estimate`, `tiles` and `rounds` (see `Subject`).
    `tile` is the size of tiles for implementations of afa_core.

    Raises
    ------
    ValueError
        If the device, the name or the function does not exist, or does not support the dtype, or
        if the library exports nothing.
    TypeError
        If what is found is not callable, or what it declares cannot be understood.
    """
    if device is not None and device not in (*backend.devices, VALUELESS.get(backend.name)):
        listed = ", ".join(repr(each) for each in backend.devices)
        msg = f"`device` must be one of {listed} for backend {backend.name!r}, got {device!r}."
        raise ValueError(msg)
    compiled = compiled or exported
    function, estimate = _find(implementation, tile)
    supports = getattr(function, "supports", LIMITED.get(implementation, {}))
    supports = _declared(implementation, supports)
    if implementation not in NAMES or implementation == "linear":
        supports = dict.fromkeys(OPTIONAL, (False,)) | dict(supports)
    subject = Subject(
        exporting(backend) if exported else backend,
        implementation,
        function if implementation in NAMES else _returning_a_mean(implementation, function),
        estimate,
        device=device,
        supports=supports,
        tiles=_tiles(implementation, (tile,) if tile else getattr(function, "tiles", ())),
        rounds=_rounds(implementation, function),
        compiled=compiled,
        exported=exported,
        batch=BATCH if compiled and _maps(supports) else 0,
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


GPUS = ("cuda", "gpu", "rocm")
"""How libraries name their GPUs: PyTorch and CuPy ``cuda:0``, JAX ``gpu:0``."""
KERNELS = ("triton", "pallas")
"""Implementations that multiply on tensor cores."""


def first_gpu(backend: Backend) -> str | None:
    """Return the first GPU of a library, None if it has none here."""
    found = (each for each in backend.devices if each.partition(":")[0] in GPUS)
    return next(found, None)


def _maps(supports: Supports) -> bool:
    """Return whether the implementation can be mapped over a batch of problems."""
    return True in supports.get("vmap", (True,))


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


def _returning_a_mean(implementation: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks what an implementation returns."""

    @wraps(function)
    def checked(query: Any, key: Any, value: Any, *others: Any, **options: Any) -> Any:
        mean = function(query, key, value, *others, **options)
        expected = (query.shape[-2], value.shape[-1])
        if not (hasattr(mean, "shape") and hasattr(mean, "dtype")):
            found = f"a {type(mean).__name__}"
        elif tuple(mean.shape[-2:]) != expected or mean.dtype != value.dtype:
            found = f"shape {tuple(mean.shape)} and {mean.dtype}"
        else:
            return mean
        msg = (
            f"{implementation} must return the mean, one array (…, n, c_v) = (…, {expected[0]}, "
            f"{expected[1]}) of {value.dtype} like `value`, got {found}."
        )
        raise TypeError(msg)

    return checked


def _tiles(implementation: str, tiles: Any) -> tuple[int, ...]:
    """Check the sizes of tiles that an implementation declares."""
    if not isinstance(tiles, tuple | list) or any(type(x) is not int or x < 1 for x in tiles):
        msg = f"`tiles` of {implementation} must be a tuple of numbers of tokens, got {tiles!r}."
        raise TypeError(msg)
    return tuple(tiles)


def _rounds(implementation: str, function: Any) -> bool:
    """Check what an implementation declares about rounding what it multiplies."""
    if implementation in NAMES:
        return implementation in KERNELS  # `auto` runs the reference for so few tokens
    rounds = getattr(function, "rounds", False)
    if not isinstance(rounds, bool):
        msg = f"`rounds` of {implementation} must be True or False, got {rounds!r}."
        raise TypeError(msg)
    return rounds


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
