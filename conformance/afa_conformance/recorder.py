"""What the laws saw: the worst error of each beside its tolerance, and the example that gave it."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import wraps
from typing import Any

from hypothesis.errors import UnsatisfiedAssumption


@dataclass
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


@dataclass
class Ledger:
    """What one law has seen so far."""

    examples: int = 0
    example: str = ""
    worst: Worst | None = None
    failed: str = ""

    def open(self) -> None:
        """Begin a law."""
        self.__init__()  # type: ignore[misc]

    def record(self, error: float, tolerance: float) -> None:
        """Note a comparison."""
        found = Worst(float(error), float(tolerance), self.example)
        if self.worst is None or not found.share <= self.worst.share:
            self.worst = found

    def watch(self, law: Callable[..., Any], given: Container[str]) -> Callable[..., Any]:
        """Return the law that notes the examples it is put to, but for what is given to all."""

        @wraps(law)
        def watched(*fixtures: Any, **drawn: Any) -> Any:
            self.examples += 1
            self.example = ", ".join(
                f"{name}={x!r}" for name, x in drawn.items() if name not in given
            )
            try:
                return law(*fixtures, **drawn)
            except UnsatisfiedAssumption:
                raise
            except Exception:
                self.failed = self.example  # hypothesis ends with the smallest
                raise

        return watched


LEDGER = Ledger()
