"""Find the laws that notice a mutant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import suite
from baseline import EXAMPLES, Baselines, Key
from catalogue import Mutant
from copies import Copy
from suite import law_of

PATIENCE = 600.0
"""Seconds after which laws are stopped on a mutant if their usual duration is not known."""
ANYWHERE = ""
"""In place of a function or a module."""
LIKELY = 20
"""How many of the laws that killed mutants of a place are tried first."""
DERIVATIVES = ("gradient", "slope")
"""Parts of the names of laws of derivatives."""


class Kill(NamedTuple):
    """The laws that notice a mutant, and the array libraries on which they do."""

    laws: list[str]
    libraries: list[str]


class Suspects(NamedTuple):
    """The laws that killed the mutants of an earlier report.

    Parameters
    ----------
    by_mutant : dict
        How each mutant was killed.
    by_place : dict
        The laws that killed mutants of a function, of a module, or `ANYWHERE`, those first
        that killed most.
    """

    by_mutant: dict[str, Kill]
    by_place: dict[str, list[str]]

    def of(self, mutant: Mutant) -> Kill:
        """Return the laws most likely to notice a mutant, and the libraries to try them on."""
        known = self.by_mutant.get(mutant.name, Kill([], []))
        places = mutant.place, mutant.module, ANYWHERE
        laws = next(filter(None, (self.by_place.get(each) for each in places)), [])[:LIKELY]
        return Kill(
            known.laws or laws, sorted(EXAMPLES, key=lambda library: library not in known.libraries)
        )


def first_kill(mutant: Mutant, copy: Copy, baselines: Baselines, suspects: Suspects) -> Kill:
    """Return the first law that is found to notice a mutant, trying the likely ones first."""
    likely = suspects.of(mutant)
    for library in [mutant.run.library] if mutant.run.library else likely.libraries:
        laws = failures(mutant, copy, library, likely.laws, PATIENCE, first_failure=True)
        if laws:
            checked = laws if laws[0] in likely.laws else likely.laws
            baselines.check(request(mutant, library, checked), copy)
            return Kill(laws, [library])
    return full_kill(mutant, copy, baselines)


def mechanical_kill(mutant: Mutant, copy: Copy, baselines: Baselines, suspects: Suspects) -> Kill:
    """Return the first law that is found to notice a mutant that no report contains.

    The likely laws are tried first, then all others on NumPy, then those of derivatives on PyTorch.
    """
    first = mutant.run.library or "numpy"
    baseline = baselines.of(Key.of(mutant.run, first), copy)
    likely = suspects.of(mutant).laws
    if laws := failures(mutant, copy, first, likely, baseline.timeout, first_failure=True):
        return Kill(laws, [first])
    rest = [case for case in baseline.reaching(mutant) if law_of(case) not in likely]
    if laws := failures(mutant, copy, first, rest, baseline.timeout, first_failure=True):
        return Kill(laws, [first])
    if mutant.run.library:
        return Kill([], [])
    torch = baselines.of(Key.of(mutant.run, "torch"), copy)
    cases = [case for case in torch.reaching(mutant) if any(x in case for x in DERIVATIVES)]
    laws = failures(mutant, copy, "torch", cases, torch.timeout, first_failure=True)
    return Kill(laws, ["torch"] if laws else [])


def full_kill(mutant: Mutant, copy: Copy, baselines: Baselines) -> Kill:
    """Return all laws that notice a mutant.

    Laws are run on NumPy; on PyTorch those that NumPy skips, if the mutant concerns derivatives or
    NumPy notices nothing; and then all laws on PyTorch, if still nothing is noticed. Where only one
    library has the implementation under test, they are run on that.
    """
    first = mutant.run.library or "numpy"
    numpy = baselines.of(Key.of(mutant.run, first), copy)
    laws = failures(mutant, copy, first, numpy.reaching(mutant), numpy.timeout)
    if mutant.run.library or (laws and not mutant.run.gradients):
        return Kill(laws, [first] if laws else [])
    torch = baselines.of(Key.of(mutant.run, "torch"), copy)
    cases = torch.reaching(mutant)
    if mutant.run.gradients:  # compiling is slow, and derivatives are noticed without it
        cases = [case for case in cases if suite.COMPILED not in case]
    skipped = failures(mutant, copy, "torch", cases, torch.timeout)
    if not laws and not skipped:
        skipped = failures(mutant, copy, "torch", None, numpy.timeout + torch.timeout)
    libraries = [name for name, found in (("numpy", laws), ("torch", skipped)) if found]
    return Kill(sorted({*laws, *skipped}), libraries)


def failures(
    mutant: Mutant,
    copy: Copy,
    library: str,
    cases: Sequence[str] | None,
    timeout: float,
    *,
    first_failure: bool = False,
) -> list[str]:
    """Return the laws that fail on a mutant, of some cases or laws or of all."""
    if cases is not None and not cases:
        return []
    with copy.changed(mutant):
        outcome = copy.run(request(mutant, library, cases, first_failure=first_failure), timeout)
    return sorted({law_of(case) for case in outcome.failed})


def request(
    mutant: Mutant, library: str, cases: Sequence[str] | None, *, first_failure: bool = False
) -> suite.Request:
    """Return how to run some cases or laws on a mutant."""
    examples = mutant.run.examples if library == "numpy" else None
    options = mutant.run.options
    return suite.Request(library, options, examples or EXAMPLES[library], cases, first_failure)
