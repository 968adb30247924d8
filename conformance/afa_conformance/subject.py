"""The implementation under test, with the arrays, device and dtype that it is given."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from afa_conformance.batching import TRIAL, Call
from afa_conformance.closeness import SPACING, compare
from afa_conformance.descriptions import HALVES
from afa_conformance.limits import UNSUPPORTED, Supports
from afa_conformance.programs import Programs
from afa_conformance.recorder import Recorder
from afa_core._array.arrays import device_of, namespace, wide_dtype, wide_integer
from afa_core.backend import Backend
from afa_core.implementations import IMPLEMENTATIONS

VALUELESS = {"torch": "meta"}
"""Devices that hold shapes and no values."""
NAMES = ("auto", *(each.name for each in IMPLEMENTATIONS))


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
    rounds : bool
        Whether it rounds rotated tokens and weights to the dtype of tokens before it multiplies
        them, as kernels on tensor cores do.
    compiled : bool
        Whether attention runs compiled by `Backend.compile`.
    exported : bool
        Whether that exports it, and loads what was exported.
    batch : int
        How many problems a compiled program is mapped over by `Backend.vmap`; 0: it takes one.
    recorder : Recorder
        Records the comparisons of the law that is running.
    programs : Programs
        What has been compiled so far.
    """

    backend: Backend
    implementation: str
    attention: Callable[..., Any]
    estimate: Callable[..., Any] | None
    device: str | None = None
    dtype: str = "float64"
    supports: Supports = field(default_factory=dict)
    tiles: tuple[int, ...] = ()
    rounds: bool = False
    compiled: bool = False
    exported: bool = False
    batch: int = 0
    recorder: Recorder = field(default_factory=Recorder)
    programs: Programs = field(init=False)

    def __post_init__(self) -> None:
        vars(self)["programs"] = Programs(self.backend, self.batch)

    def __repr__(self) -> str:
        return f"<{self.implementation} on {self.name}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @property
    def name(self) -> str:
        """Name of the array library."""
        return self.backend.name

    @property
    def mode(self) -> str:
        """How problems are evaluated: eagerly, compiled or exported, and mapped over batches."""
        if not self.compiled:
            return "eager"
        mapped = self.batch and self.backend.vmap is not None
        return ("exported" if self.exported else "compiled") + (", mapped" if mapped else "")

    def eps(self, dtype: str) -> float:
        """Return the spacing at 1 of the dtype that tokens of a dtype are computed in.

        That of float32 for half precision (spec §8.5), unless it `rounds`.
        """
        return SPACING[dtype] if self.rounds else min(SPACING[dtype], SPACING["float32"])

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

    def evaluate(self, program: Hashable, function: Callable[..., Any], *arrays: Any) -> Any:
        """Call a function of arrays; if `compiled`, as a program that serves all equal ones.

        In a batch it waits for the other problems, and one program is mapped over all of them.
        """
        if not self.compiled:
            return function(*arrays)
        call, trial = Call(program, function, arrays), TRIAL.get()
        return self.programs.run(call) if trial is None else trial.call(call)

    @property
    def holds_values(self) -> bool:
        """Whether results can be read."""
        return self.device is None or self.device != VALUELESS.get(self.name)

    def lacks(self, feature: str) -> str:
        """Return why a law that needs a feature is skipped, or an empty string."""
        if feature == "gradients" and self.backend.grad is None:
            return f"{self.name} does not differentiate"
        missing = {
            "library": (not self.own, "the law is about other functions of afa_core"),
            "precision": (self.estimate is None, "it has no `estimate`, so no precision"),
            "float64": (self.dtype != "float64", f"{self.dtype}: the law needs float64"),
            "values": (not self.holds_values, f"the device {self.device!r} holds no values"),
            "wide times": (not self.wide, "the device has no float64 for times"),
            "gradients": (self.grad is None, "gradients"),
            "correlated": (True not in self.supports.get("correlated", (True,)), "correlated True"),
        }
        absent, why = missing[feature]
        return f"{UNSUPPORTED}{why}" if absent else ""

    def assert_close(
        self,
        actual: Any,
        expected: Any,
        tolerance: float,
        *,
        scale: float | None = None,
        rounded: str | None = None,
    ) -> None:
        """Raise AssertionError where |actual − expected| > tolerance × scale; record the error.

        The scale is by default the largest finite magnitude of `expected`, or 1 if it is zero. That
        `actual` was rounded to the dtype `rounded` does not count as an error.
        """
        comparison = compare(actual, expected, tolerance, scale=scale, rounded=rounded)
        self.recorder.add(comparison, np.size(expected))
        if comparison is not None:
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
