"""Runs a law on many problems at once, so that one compiled program serves all of them.

Each problem has the law to itself, in a thread of its own, until the law calls the implementation.
When all of them wait for a call, calls of one program are made as one, and each goes on with its
own result. Only one thread runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from queue import SimpleQueue
from threading import Thread
from types import NoneType
from typing import Any, NamedTuple

from hypothesis.errors import UnsatisfiedAssumption


class Call(NamedTuple):
    """A call that a law makes on one problem.

    Parameters
    ----------
    program : hashable
        What the function has to be compiled for; one program serves all calls with equal ones.
    function : callable
        Of the arrays.
    arrays : tuple of array
    """

    program: Hashable
    function: Callable[..., Any]
    arrays: tuple[Any, ...]


class AbandonedError(Exception):
    """Ends the law on a problem because it is broken on another."""


class Trial:
    """The law on one problem, in a thread that runs from one call to the next."""

    def __init__(self, law: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._thread = Thread(target=self._run, args=(law,), daemon=True)

    def start(self) -> Call | None:
        """Run to the first call; None if the law ends before."""
        self._thread.start()
        return self._calls.get()

    def resume(self, answer: Any) -> Call | None:
        """Run from a call to the next with its result, or with an exception that it raises."""
        self._answers.put(answer)
        return self._calls.get()

    def call(self, call: Call) -> Any:
        """Wait for the result of a call; runs in the thread."""
        self._calls.put(call)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _run(self, law: Callable[[], None]) -> None:
        TRIAL.set(self)
        try:
            law()
        except BaseException as error:  # skips of pytest are no `Exception`
            self.error = error
        self._calls.put(None)


TRIAL: ContextVar[Trial | None] = ContextVar("TRIAL", default=None)
"""The trial whose thread this is."""


def run_together(
    laws: Sequence[Callable[[], None]], evaluate: Callable[[Sequence[Call]], Sequence[Any]]
) -> None:
    """Run a law on many problems; raise the first error.

    A problem that the law rejects takes no further part; if it rejects all, so does this.
    """
    trials = [Trial(law) for law in laws]
    calls = {each: each.start() for each in trials}
    while waiting := {trial: call for trial, call in calls.items() if call is not None}:
        broken = any(_breaks(each) for each in trials)
        answers = [AbandonedError()] * len(waiting) if broken else evaluate([*waiting.values()])
        calls = {each: each.resume(answer) for each, answer in zip(waiting, answers, strict=True)}
    for each in reversed(trials):  # the last is the one that was recorded
        if each.error is not None and _breaks(each):
            raise each.error
    if all(each.error is not None for each in trials):
        raise UnsatisfiedAssumption


def _breaks(trial: Trial) -> bool:
    return not isinstance(trial.error, UnsatisfiedAssumption | AbandonedError | NoneType)
