"""Find the laws that notice a mutant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import suite
from baseline import EXAMPLES, Baseline, Baselines, Key, law_of
from catalogue import Mutant
from copies import Copy


class Kill(NamedTuple):
    """The laws that notice a mutant, and the array libraries on which they do."""

    laws: list[str]
    libraries: list[str]


class Suspects(NamedTuple):
    """Which laws killed the mutants of an earlier report, by mutant, function and module."""

    by_mutant: dict[str, Kill]
    by_function: dict[str, set[str]]
    by_module: dict[str, set[str]]

    def of(self, mutant: Mutant) -> set[str]:
        """Return the laws most likely to notice a mutant."""
        if mutant.name in self.by_mutant:
            return {*self.by_mutant[mutant.name].laws}
        function = f"{mutant.module}:{mutant.function}"
        return self.by_function.get(function) or self.by_module.get(mutant.module, set())

    def libraries(self, mutant: Mutant) -> list[str]:
        """Return the libraries, those first on which it was killed."""
        known = self.by_mutant.get(mutant.name, Kill([], [])).libraries
        return sorted(EXAMPLES, key=lambda library: library not in known)


def kill_at_all(mutant: Mutant, copy: Copy, baselines: Baselines, suspects: Suspects) -> Kill:
    """Return the first law that is found to notice a mutant, trying the likely ones first."""
    likely = suspects.of(mutant)
    for library in suspects.libraries(mutant):
        baseline = baselines.of(Key(library, mutant.run.options), copy)
        cases = sorted(baseline.reaching(mutant), key=baseline.outcome.seconds.__getitem__)
        first = [case for case in cases if law_of(case) in likely]
        rest = [case for case in cases if law_of(case) not in likely]
        for batch in (first, rest):
            if failed := failures(mutant, copy, library, baseline, batch, first_failure=True):
                return Kill(failed, [library])
    return Kill([], [])


def kill_by_all(mutant: Mutant, copy: Copy, baselines: Baselines) -> Kill:
    """Return all laws that notice a mutant.

    PyTorch is used where NumPy notices nothing, and for those laws of gradients that NumPy skips.
    """
    baseline = baselines.of(Key("numpy", mutant.run.options), copy)
    cases = baseline.reaching(mutant)
    laws = failures(mutant, copy, "numpy", baseline, cases)
    libraries = ["numpy"] if laws else []
    if mutant.run.gradients or not laws:
        other = baselines.of(Key("torch", mutant.run.options), copy)
        cases = other.reaching(mutant)
        if laws:
            skipped = {*baseline.outcome.skipped}
            cases = [case for case in cases if case in skipped and suite.COMPILED not in case]
        if found := failures(mutant, copy, "torch", other, cases):
            laws, libraries = sorted({*laws, *found}), [*libraries, "torch"]
    return Kill(laws, libraries)


def failures(
    mutant: Mutant,
    copy: Copy,
    library: str,
    baseline: Baseline,
    cases: Sequence[str],
    *,
    first_failure: bool = False,
) -> list[str]:
    """Return the laws that fail on a mutant, of those with the given cases."""
    if not cases:
        return []
    own = mutant.run.examples if library == "numpy" else None
    examples = own or EXAMPLES[library]
    request = suite.Request(library, mutant.run.options, examples, cases, first_failure)
    with copy.changed(mutant):
        outcome = copy.run(request, baseline.timeout)
    return sorted({law_of(case) for case in outcome.failed})
