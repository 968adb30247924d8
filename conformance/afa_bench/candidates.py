"""What takes part in a measurement, as values: a case, its rivals, and what both are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from afa_bench.inputs import Inputs
from afa_bench.setting import Setting
from afa_core.backend import Backend

Call = Callable[[], Any]


class Rival(NamedTuple):
    """Something to be compared with.

    `refusal` returns why a setting cannot be run, or an empty string; `prepare` returns a
    call without arguments, with everything done that is not to be measured. One that is not
    `usual` takes part only when it is named.
    """

    name: str
    title: str
    refusal: Callable[[Setting], str]
    prepare: Callable[[Task], Call]
    usual: bool = True


class Case(NamedTuple):
    """An operation of this library, with its inputs in NumPy arrays; otherwise as `Rival`."""

    name: str
    refusal: Callable[[Setting], str]
    inputs: Callable[[Setting], Inputs]
    prepare: Callable[[Task], Call]


class Instruments(NamedTuple):
    """What measuring asks of an array library beyond its backend.

    Parameters
    ----------
    wait : callable
        ``wait(result)`` returns when the arrays in a result have been computed.
    compile : callable
        ``compile(function, arrays)``: the function as it is called with these arrays, compiled
        beforehand where users of the library would compile it.
    pull : callable or None
        ``pull(function, upstream, *arrays)``: the output, and the gradients at the arrays of
        its inner product with `upstream`; None where the library does not differentiate.
    device_memory : callable
        ``device_memory(call, device)``: the peak of a device's memory during a call beyond
        what was in use before, in bytes; None if the device uses the memory of the process.
    gpu : callable
        ``gpu()``: the name of the first GPU that the library sees, empty if it sees none.
    rivals : tuple of Rival
        Those that need this library.
    """

    wait: Callable[[Any], object]
    compile: Callable[[Callable[..., Any], tuple[Any, ...]], Callable[..., Any]]
    pull: Callable[..., Any] | None
    device_memory: Callable[[Call, str], int | None]
    gpu: Callable[[], str]
    rivals: tuple[Rival, ...]


class Task(NamedTuple):
    """What a contender is given: the setting and its inputs as arrays of the library."""

    setting: Setting
    inputs: Inputs
    backend: Backend
    instruments: Instruments

    def call(
        self,
        function: Callable[..., Any],
        arrays: tuple[Any, ...],
        constants: tuple[Any, ...] = (),
    ) -> Call:
        """Return the call of `function(*arrays, *constants)`, with its gradients if asked for.

        Gradients are those of the arrays, not of the constants.
        """
        if not self.setting.backward:
            given = (*arrays, *constants)
            compiled = self.instruments.compile(function, given)
            return lambda: compiled(*given)

        pull = self.instruments.pull
        assert pull is not None

        def both(upstream: Any, *given: Any) -> Any:
            fixed = given[len(arrays) :]
            return pull(lambda *x: function(*x, *fixed), upstream, *given[: len(arrays)])

        given = (self.inputs.upstream, *arrays, *constants)
        compiled = self.instruments.compile(both, given)
        return lambda: compiled(*given)


def never(_: Setting) -> str:
    """Refuse nothing."""
    return ""
