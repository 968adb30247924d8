"""Records what a law was put to: its examples, and the comparison nearest to its tolerance."""

from __future__ import annotations

from collections.abc import Callable, Container
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from math import isfinite
from typing import Any

from hypothesis.errors import UnsatisfiedAssumption

from afa_conformance.batching import AbandonedError
from afa_conformance.closeness import Deviation
from afa_conformance.schema import WorstReport


@dataclass(frozen=True)
class Worst:
    """The comparison of a law that came nearest to its tolerance.

    `error` and `tolerance` are absolute; `example` is a line of Python.
    """

    error: float
    tolerance: float
    example: str

    @property
    def share(self) -> float:
        """Error as a share of the tolerance; above 1 the law is broken."""
        return self.error / self.tolerance if self.tolerance else float(self.error > 0.0)

    def report(self) -> WorstReport:
        """Return it as it is written: JSON has no NaN and no infinities, so they are text."""
        error, tolerance = (x if isfinite(x) else str(x) for x in (self.error, self.tolerance))
        return {"error": error, "tolerance": tolerance, "example": self.example}


@dataclass
class LawRecord:
    """One law: how many examples, the worst comparison, the example that failed.

    `empty` is whether it has compared arrays without elements.
    """

    examples: int = 0
    worst: Worst | None = None
    empty: bool = False
    failed: str = ""


EXAMPLE: ContextVar[str] = ContextVar("EXAMPLE", default="")
"""The example that the law is running on, in the thread that runs it."""


@dataclass
class Recorder:
    """Keeps the record of the law that is running; a session has one."""

    record: LawRecord = field(default_factory=LawRecord)

    def begin(self) -> None:
        """Begin the record of another law."""
        self.record = LawRecord()

    def add(self, comparison: Deviation | None, size: int) -> None:
        """Keep a comparison of arrays of so many elements if it is the worst so far."""
        self.record.empty |= size == 0
        if comparison is None:
            return
        found = Worst(comparison.error, comparison.allowed, EXAMPLE.get())
        worst = self.record.worst
        if worst is None or not found.share <= worst.share:
            self.record.worst = found

    def require_comparison(self) -> None:
        """Raise AssertionError if no number was compared that is expected to be finite."""
        if self.record.worst is None and not self.record.empty:
            msg = "nothing was compared: no number is expected to be finite."
            raise AssertionError(msg)

    def watch(self, law: Callable[..., Any], drawn: Container[str]) -> Callable[..., Any]:
        """Return the law, recording the arguments of these names at each call as an example."""

        @wraps(law)
        def watched(*args: Any, **arguments: Any) -> Any:
            example = ", ".join(f"{name}={x!r}" for name, x in arguments.items() if name in drawn)
            EXAMPLE.set(example)
            try:
                result = law(*args, **arguments)
            except (UnsatisfiedAssumption, AbandonedError):
                raise
            except Exception:
                self.record.examples += 1
                self.record.failed = example  # hypothesis ends with the smallest
                raise
            self.record.examples += 1
            return result

        return watched
