"""Compiled programs, each kept for all the calls that it can serve."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from types import FunctionType
from typing import Any

from afa_conformance.batching import Call
from afa_core._array.arrays import namespace
from afa_core.backend import Backend


class Programs:
    """What has been compiled on a backend, alone or mapped over a batch of problems."""

    def __init__(self, backend: Backend, batch: int) -> None:
        self.backend = backend
        self.batch = batch
        self.compiled: dict[Hashable, Callable[..., Any]] = {}

    def run(self, call: Call) -> Any:
        """Return the result of one call."""
        return self._program(call.program, call.function)(*call.arrays)

    def run_together(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of many calls; those of one program are made as one."""
        groups: dict[Hashable, list[int]] = {}
        for index, call in enumerate(calls):
            kinds = tuple((tuple(x.shape), x.dtype) for x in call.arrays)
            groups.setdefault((call.program, kinds), []).append(index)
        results: dict[int, Any] = {}
        for members in groups.values():
            results |= zip(members, self._mapped([calls[i] for i in members]), strict=True)
        return [results[index] for index in range(len(calls))]

    def _mapped(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of calls of one program, or the error that it raises for each."""
        vmap = self.backend.vmap
        assert vmap is not None
        first, missing = calls[0], self.batch - len(calls)
        rows = [*(each.arrays for each in calls), *[first.arrays] * missing]  # of one number
        xp = namespace(**{str(place): x for place, x in enumerate(first.arrays)})
        program = self._program(("mapped", first.program), vmap(first.function))
        try:
            results = program(*(xp.stack(column) for column in zip(*rows, strict=True)))
        except Exception as error:
            return [error] * len(calls)
        return _rows(results, self.batch)[: len(calls)]

    def _program(self, program: Hashable, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function compiled, now or for an earlier call."""
        if program not in self.compiled:

            def call(*arrays: Any) -> Any:
                return function(*arrays)

            # torch limits how often a code object is recompiled, so each program has a copy
            code, closure = call.__code__.replace(), call.__closure__
            own = FunctionType(code, globals(), call.__name__, None, closure)
            self.compiled[program] = self.backend.compile(own)
        return self.compiled[program]


def _rows(results: Any, count: int) -> list[Any]:
    """Return the rows of an array, or of arrays in tuples, named or not."""
    if results is None:
        return [None] * count
    if not isinstance(results, tuple):
        xp: Any = namespace(results=results)
        return list(xp.unstack(results))
    rows = zip(*(_rows(each, count) for each in results), strict=True)
    return [type(results)(*x) if hasattr(results, "_fields") else x for x in rows]
