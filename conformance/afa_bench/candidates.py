"""Candidates of a measurement: operations of this library, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from afa_bench.inputs import Inputs
from afa_bench.setting import Setting
from afa_core.backend import Backend

Call = Callable[[], Any]


class Baseline(NamedTuple):
    """An implementation to compare with.

    Parameters
    ----------
    name, title : str
    unsupported : callable
        ``unsupported(setting)``: the reason why a setting cannot be run, empty if it can.
    prepare : callable
        ``prepare(task)``: a call without arguments that does only what is to be measured.
    default : bool
        Whether it is measured without being named.
    """

    name: str
    title: str
    unsupported: Callable[[Setting], str]
    prepare: Callable[[Task], Call]
    default: bool = True


class Case(NamedTuple):
    """An operation of this library.

    Parameters
    ----------
    name : str
    unsupported : callable
        ``unsupported(setting)``: the reason why a setting cannot be run, empty if it can.
    inputs : callable
        ``inputs(setting)``: its inputs as NumPy arrays.
    prepare : callable
        ``prepare(task)``: a call without arguments that does only what is to be measured.
    """

    name: str
    unsupported: Callable[[Setting], str]
    inputs: Callable[[Setting], Inputs]
    prepare: Callable[[Task], Call]


class Profiling(NamedTuple):
    """How an array library is measured: what `afa_core.backend.Backend` does not provide.

    Parameters
    ----------
    synchronize : callable
        ``synchronize(result)`` returns once the arrays of a result have been computed.
    compile : callable
        ``compile(function, arrays)``: the function, compiled ahead of time for these arrays in
        a library whose users compile.
    vjp : callable or None
        ``vjp(function, cotangent, *arrays)``: the output, and the gradients of its inner product
        with `cotangent`; None for a library without differentiation.
    device_memory : callable
        ``device_memory(call, device)``: the peak memory of a device during a call, in bytes,
        less the memory in use before; None for a device that uses the memory of the process.
    gpu : callable
        ``gpu()``: the name of the library's first GPU, empty if there is none.
    """

    synchronize: Callable[[Any], object]
    compile: Callable[[Callable[..., Any], tuple[Any, ...]], Callable[..., Any]]
    vjp: Callable[..., Any] | None
    device_memory: Callable[[Call, str], int | None]
    gpu: Callable[[], str]


class Task(NamedTuple):
    """A setting with its inputs as arrays of the library."""

    setting: Setting
    inputs: Inputs
    backend: Backend
    profiling: Profiling

    def call(
        self,
        function: Callable[..., Any],
        arrays: tuple[Any, ...],
        constants: tuple[Any, ...] = (),
    ) -> Call:
        """Return the call ``function(*arrays, *constants)``, compiled.

        With `setting.backward` it also returns the gradients with respect to `arrays`.
        """
        if not self.setting.backward:
            inputs = (*arrays, *constants)
            compiled = self.profiling.compile(function, inputs)
            return lambda: compiled(*inputs)

        vjp = self.profiling.vjp
        assert vjp is not None

        def with_gradients(cotangent: Any, *inputs: Any) -> Any:
            fixed = inputs[len(arrays) :]
            return vjp(lambda *x: function(*x, *fixed), cotangent, *inputs[: len(arrays)])

        inputs = (self.inputs.cotangent, *arrays, *constants)
        compiled = self.profiling.compile(with_gradients, inputs)
        return lambda: compiled(*inputs)


def always_supported(_: Setting) -> str:
    """Return an empty reason."""
    return ""


def usual_keys(setting: Setting) -> str:
    """Return a reason for times that are not regular, and for correlated keys."""
    if setting.irregular or setting.correlated:
        return "is measured at regular times and with independent keys only"
    return ""
