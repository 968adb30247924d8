"""What the laws do without a mutant, and so which of them a change of a function can reach."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import NamedTuple

import suite
from catalogue import Mutant, Run
from copies import Copy, Outcome
from functions import MODULE
from suite import law_of

EXAMPLES = {"numpy": 6, "torch": 4}
"""How many each law draws."""


class BrokenSuiteError(RuntimeError):
    """Laws fail without a mutant."""


class Key(NamedTuple):
    """The library that laws are run on, and the options of the conformance suite."""

    library: str
    options: tuple[str, ...]
    alone: bool = False  # whether no other library has the implementation under test

    @classmethod
    def of(cls, run: Run, library: str) -> Key:
        """Return how the laws are run on a library."""
        return cls(library, run.options, run.library == library)


class Baseline(NamedTuple):
    """What became of the laws without a mutant, and how long they took."""

    outcome: Outcome
    seconds: float

    @property
    def timeout(self) -> float:
        """Seconds after which the laws are stopped on a mutant."""
        return 60.0 + 5.0 * self.seconds

    def reaching(self, mutant: Mutant) -> list[str]:
        """Return the cases that execute the function of a mutant, or all cases if none does.

        The other cases do the same with the mutant as without it: examples are drawn from the same
        seed. All cases are returned where the function runs while modules are imported.
        """
        executed, cases = self.outcome.executed, self.outcome.passed
        name = f"{mutant.path.as_posix()}:{mutant.function}"
        found = [case for case in cases if name in executed[case]]
        if not found or mutant.function == MODULE or name in executed[suite.IMPORTING]:
            return cases
        return [case for case in cases if name in executed[case] or suite.COMPILED in case]


class Baselines:
    """The baselines by library and options, measured when they are first needed.

    Those of NumPy are of all laws, those of PyTorch of the cases that NumPy skips, or of all where
    only PyTorch has the implementation under test.
    """

    def __init__(self) -> None:
        self._known: dict[Key, Baseline] = {}
        self._checked: set[tuple[Key, str]] = set()
        self._locks: dict[Key, Lock] = {}

    def of(self, key: Key, copy: Copy) -> Baseline:
        """Return the baseline of a library with some options, measured in `copy`.

        Raises
        ------
        BrokenSuiteError
            If a law fails.
        """
        with self._locks.setdefault(key, Lock()):
            if key not in self._known:
                cases = None
                if key.library != "numpy" and not key.alone:
                    cases = self.of(key._replace(library="numpy"), copy).outcome.skipped
                self._known[key] = measure(key, cases, copy)
        return self._known[key]

    def check(self, request: suite.Request, copy: Copy) -> None:
        """Raise BrokenSuiteError unless some laws pass without a mutant."""
        key = Key(request.library, request.options)
        laws = {(key, law) for law in request.cases or ()}
        with self._locks.setdefault(key, Lock()):
            if laws <= self._checked:
                return
            check(copy.run(request))
            self._checked |= laws

    def laws(self) -> list[str]:
        """Return the laws that passed in one of the baselines."""
        passed = (case for each in self._known.values() for case in each.outcome.passed)
        return sorted({law_of(case) for case in passed})

    def skipped(self) -> list[str]:
        """Return the laws that were skipped in all baselines."""
        skipped = (case for each in self._known.values() for case in each.outcome.skipped)
        return sorted({law_of(case) for case in skipped} - {*self.laws()})


def needed(mutants: Iterable[Mutant]) -> list[Key]:
    """Return the baselines that mutants are sure to need, and those in which every law runs."""
    runs = {each.run for each in mutants}
    keys = {Key.of(run, "torch") for run in runs if run.gradients}
    every = {Key("numpy", ()), Key("torch", ())}
    return sorted(every | keys | {Key.of(run, run.library or "numpy") for run in runs})


def measure(key: Key, cases: Sequence[str] | None, copy: Copy) -> Baseline:
    """Run the laws without a mutant, recording the functions that they execute."""
    examples = EXAMPLES[key.library]
    request = suite.Request(key.library, key.options, examples, cases, record=True)
    start = time.monotonic()
    outcome = copy.run(request)
    check(outcome)
    seconds = time.monotonic() - start
    print(f"{seconds:.0f} s without a mutant: {' '.join([key.library, *key.options])}", flush=True)
    return Baseline(outcome, seconds)


def check(outcome: Outcome) -> None:
    """Raise BrokenSuiteError if something failed without a mutant."""
    if outcome.failed:
        msg = f"{outcome.output}\nwithout a mutant: {', '.join(outcome.failed)}"
        raise BrokenSuiteError(msg)
