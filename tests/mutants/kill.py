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
"""Seconds that laws may take on a mutant where it is not known how long they take without."""
DERIVATIVES = ("gradient", "slope")
"""Parts of the names of laws of derivatives."""


class Kill(NamedTuple):
    """The laws that notice a mutant, and the array libraries on which they do."""

    laws: list[str]
    libraries: list[str]


class Suspects(NamedTuple):
    """The laws that killed the mutants of an earlier report: those of each, and those of others.

    The laws that killed the mutants of a function or a module come in order of how many they
    killed.
    """

    by_mutant: dict[str, Kill]
    by_place: dict[str, list[str]]

    def of(self, mutant: Mutant) -> Kill:
        """Return the laws most likely to notice a mutant, and the libraries to try them on."""
        known = self.by_mutant.get(mutant.name, Kill([], []))
        laws = known.laws or self.by_place.get(mutant.place) or self.by_place.get(mutant.module, [])
        return Kill(laws, sorted(EXAMPLES, key=lambda library: library not in known.libraries))


def kill_at_all(mutant: Mutant, copy: Copy, baselines: Baselines, suspects: Suspects) -> Kill:
    """Return the first law that is found to notice a mutant, trying the likely ones first."""
    likely = suspects.of(mutant)
    for library in likely.libraries:
        laws = failures(mutant, copy, library, likely.laws, PATIENCE, first_failure=True)
        if laws:
            checked = laws if laws[0] in likely.laws else likely.laws
            baselines.check(request(mutant, library, checked), copy)
            return Kill(laws, [library])
    return kill_by_all(mutant, copy, baselines)


def kill_by_any(mutant: Mutant, copy: Copy, baselines: Baselines, suspects: Suspects) -> Kill:
    """Return the first law that is found to notice a mutant that is not in any report.

    They are the likely laws and then all others on NumPy, and those of derivatives on PyTorch.
    """
    likely = suspects.of(mutant).laws
    laws = failures(mutant, copy, "numpy", likely, PATIENCE, first_failure=True)
    numpy = baselines.of(Key("numpy", mutant.run.options), copy)
    if laws:
        return Kill(laws, ["numpy"])
    rest = [case for case in numpy.reaching(mutant) if law_of(case) not in likely]
    if laws := failures(mutant, copy, "numpy", rest, numpy.timeout, first_failure=True):
        return Kill(laws, ["numpy"])
    torch = baselines.of(Key("torch", mutant.run.options), copy)
    cases = [case for case in torch.reaching(mutant) if any(x in case for x in DERIVATIVES)]
    laws = failures(mutant, copy, "torch", cases, torch.timeout, first_failure=True)
    return Kill(laws, ["torch"] if laws else [])


def kill_by_all(mutant: Mutant, copy: Copy, baselines: Baselines) -> Kill:
    """Return all laws that notice a mutant.

    On PyTorch are run the laws that NumPy skips, where derivatives are concerned or NumPy notices
    nothing, and all laws where that is not enough.
    """
    numpy = baselines.of(Key("numpy", mutant.run.options), copy)
    laws = failures(mutant, copy, "numpy", numpy.reaching(mutant), numpy.timeout)
    if laws and not mutant.run.gradients:
        return Kill(laws, ["numpy"])
    torch = baselines.of(Key("torch", mutant.run.options), copy)
    cases = torch.reaching(mutant)
    if laws:
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
