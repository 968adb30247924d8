"""Change the library, one function at a time, and record which laws notice.

``python tests/mutants --report FILE`` makes the mutants of `catalogue.toml` in a copy of the
repository and runs the conformance laws that execute the changed function: on NumPy; on PyTorch
those that NumPy skips, if derivatives are concerned; and all on PyTorch if NumPy notices nothing.
It fails if the laws fail without a mutant, if a mutant survives, or if a law kills no mutant and
the catalogue does not give the reason.

``--fast`` stops at the first law that notices a mutant, trying first those that did last time;
``--mechanical`` does so with the mutants that Cosmic Ray makes of the formulas of the model.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import catalogue
import report
from baseline import Baselines, BrokenSuiteError, needed
from catalogue import Catalogue, Mutant
from copies import Copy, in_parallel
from functions import ROOT
from kill import Kill, Suspects, first_kill, full_kill, mechanical_kill

KNOWN = ROOT / "docs/reports/mutants.json"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python tests/mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="to write, unless --fast")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="mutants whose name or function has it",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument(
        "--keep", action="store_true", help="go on from the report: run what it does not settle"
    )
    parser.add_argument(
        "--fast", action="store_true", help="find whether each is killed, not by which laws"
    )
    parser.add_argument(
        "--mechanical",
        nargs="*",
        metavar="MODULE",
        help="changes of one operator or number in these modules (default: those of the model)",
    )
    options = parser.parse_args(arguments)
    if not options.fast and options.mechanical is None and options.report is None:
        parser.error("--report is needed without --fast or --mechanical")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the laws on the mutants, and return 1 if a mutant survives or a law is idle."""
    options = parse(arguments)
    known = catalogue.read()
    if wrong := catalogue.mistakes(known.mutants):
        sys.exit("\n".join(wrong))
    mutants = choose(known, options)
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="afa-mutants-") as folder:
        copies = [Copy(Path(folder).resolve() / str(job)) for job in range(options.jobs)]
        try:
            if options.mechanical is not None:
                return run_fast(mutants, copies, mechanical_kill, known.equivalent)
            if options.fast:
                return run_fast(mutants, copies, first_kill, {})
            return run_fully(mutants, copies, options, known.reasons)
        except BrokenSuiteError as error:
            sys.exit(str(error))


def choose(known: Catalogue, options: argparse.Namespace) -> list[Mutant]:
    """Return the mutants that the command line names."""
    mutants = known.mutants
    if options.mechanical is not None:
        import mechanical

        mutants = mechanical.mutants(options.mechanical or mechanical.MODULES, known.runs)
    if not options.only:
        return mutants
    named = ((f"{each.name} {each.place}", each) for each in mutants)
    return [each for name, each in named if any(text in name for text in options.only)]


def run_fast(
    mutants: Sequence[Mutant],
    copies: Sequence[Copy],
    kill: Callable[[Mutant, Copy, Baselines, Suspects], Kill],
    equivalent: Mapping[str, str],
) -> int:
    """Report whether each mutant is killed; return 1 if one survives that is not equivalent."""
    baselines, suspects = Baselines(), report.suspects(report.read(KNOWN))

    def job(mutant: Mutant, copy: Copy) -> Kill:
        return kill(mutant, copy, baselines, suspects)

    survivors = []
    for mutant, found in in_parallel(mutants, copies, job):
        show(mutant, found)
        if not found.laws:
            survivors.append(f"{mutant.place}: {mutant.name}")
    print(f"\n{len(mutants) - len(survivors)} of {len(mutants)} killed")
    for name in survivors:
        print(f"survives: {name} ({equivalent.get(name, 'no reason given')})")
    return int(any(name not in equivalent for name in survivors))


def run_fully(
    mutants: Sequence[Mutant],
    copies: Sequence[Copy],
    options: argparse.Namespace,
    reasons: dict[str, str],
) -> int:
    """Report which laws kill each mutant; return 1 if one survives, or a law kills none."""
    baselines = Baselines()
    for _ in in_parallel([] if options.only else needed(mutants), copies, baselines.of):
        pass  # they are measured in parallel, unless few mutants need few of them
    entries = report.settled(report.read(options.report), mutants) if options.keep else []
    settled = {each["name"] for each in entries}
    rest = [each for each in mutants if each.name not in settled]
    order = {each.name: place for place, each in enumerate(mutants)}
    kill = partial(full_kill, baselines=baselines)
    for mutant, found in in_parallel(rest, copies, kill):
        show(mutant, found)
        entries.append(report.entry(mutant, found))
        entries.sort(key=lambda each: order[each["name"]])
        report.write(options.report, entries, baselines.laws(), reasons)
    for law in baselines.skipped():
        print(f"skipped on every library: {law}")
    kills = report.write(options.report, entries, baselines.laws(), reasons)
    return report.conclude(entries, {} if options.only else kills, reasons)


def show(mutant: Mutant, kill: Kill) -> None:
    """Print how a mutant was killed."""
    laws = ", ".join(kill.laws[:2]) or "SURVIVES"
    print(f"{len(kill.laws):3d}  {mutant.place}: {mutant.name}: {laws}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
