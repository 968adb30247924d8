"""Compiled programs, each kept for all the calls that it can serve."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from types import FunctionType
from typing import Any

from afa_conformance.batching import Call
from afa_conformance.trees import leaves_of, with_leaves_of
from afa_core._array.arrays import namespace
from afa_core.backend import Backend


class Programs:
    """What has been compiled on a backend, alone or, where it can be, mapped over a batch."""

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
        try:
            if vmap is None:
                return [self.run(call) for call in calls]
            first, missing = calls[0], self.batch - len(calls)
            rows = [*(each.arrays for each in calls), *[first.arrays] * missing]  # of one number
            xp = namespace(**{str(place): x for place, x in enumerate(first.arrays)})
            program = self._program(("mapped", first.program), vmap(first.function))
            results = program(*(xp.stack(column) for column in zip(*rows, strict=True)))
        except Exception as error:
            return [error] * len(calls)
        return _rows(results)[: len(calls)]

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


def _rows(results: Any) -> list[Any]:
    """Return the rows of the arrays of a tree."""
    leaves = leaves_of(results)
    xp: Any = namespace(**{str(place): x for place, x in enumerate(leaves)})
    return [with_leaves_of(results, row) for row in zip(*map(xp.unstack, leaves), strict=True)]
