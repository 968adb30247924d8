"""Plant the faults of `catalogue.toml` one at a time and record which laws notice.

``python tests/mutants/plant.py --report FILE [--only TEXT ...] [--keep] [--jobs N]`` copies the
tree to a temporary folder, once a job, and runs the conformance laws there: all on NumPy, and on
PyTorch those that NumPy must skip (it has no gradients and no compiler), where the fault concerns
derivatives, and all where NumPy did not notice it. Faults in the tiled kernel of the guide are
judged as a stranger's would be, and those in streaming by its name, with tiles of two tokens. The
run fails if the laws fail without a fault, if a fault goes unnoticed, or if a law notices none and
the catalogue does not say why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = Path(__file__).with_name("catalogue.toml")
SOURCES = ("afa_core", "backends", "conformance/afa_conformance", "docs/examples")
WITH = {
    "tiles": ("--afa-implementation=tiled:attention",),
    "streaming": ("--afa-implementation=streaming", "--afa-tile=2"),
    "streaming backward": ("--afa-implementation=streaming", "--afa-tile=2"),
}
"""Paths of faults that pass through another implementation than `auto`, and how it is named."""
LAWS = "conformance/afa_conformance/laws"
EXAMPLES = {"numpy": 6, "torch": 4}
"""How many each law draws; those of gradients say much with one."""
MANY = 30
"""How many where a fault is put to one group of laws alone."""
IMPORTED = ("backends", "conformance", "docs/examples")
DIFFERENTIATED = ("kernel", "weighting", "streaming backward")
"""Paths of faults whose derivatives are looked at even when NumPy notices them."""
COMPILED = "test_compiled"
ESTIMATORS = {
    "kalman": ("estimation",),
    "simulate": ("estimation",),
    "diagonalise": ("estimation",),
    "estimates": ("estimates",),
    "decoding": ("decoding",),
    "window": ("window",),
}
"""Paths of faults that attention does not pass through, and the groups of laws about them."""
ATTENTION = ("attention", "limits", "radial_tangential", "weights")
GROUPS = ESTIMATORS | dict.fromkeys(("linear", "streaming", "streaming backward"), ATTENTION)
"""Groups of laws by path; all others have every law of attention and what it is made of."""
SLOW = "not test_estimate_is_the_double_sum or (student and True and irregular)"
"""All laws, but of the slowest one case a form."""
NO_START = "(the suite does not start)"
TIMEOUT = "(timeout)"
PLUGIN = f"""\
from pathlib import Path

import afa_core
from hypothesis import Phase, settings

COPY = Path(__file__).resolve().parent
assert Path(afa_core.__file__).resolve().is_relative_to(COPY), afa_core.__file__
for library, examples in {EXAMPLES}.items():
    settings.register_profile(
        "planted-" + library, max_examples=examples, derandomize=True, deadline=None,
        database=None, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False,
    )
"""
"""Imported by every run: stops it unless the copy is what it tests."""


class Fault(NamedTuple):
    """One replacement in one file."""

    name: str
    path: str
    forms: list[str]
    file: str
    old: str
    new: str


class Outcome(NamedTuple):
    """The laws of one run by what became of them, skipped tests, and what pytest printed."""

    failed: list[str]
    passed: list[str]
    skipped: list[str]
    output: str = ""


def read_catalogue(path: Path = CATALOGUE) -> tuple[list[Fault], dict[str, str]]:
    """Return the faults, and why some laws notice none of them."""
    catalogue = tomllib.loads(path.read_text(encoding="utf-8"))
    faults = [
        Fault(**{"path": group["path"], "forms": group["forms"], "file": group["file"], **fault})
        for group in catalogue["files"]
        for fault in group["faults"]
    ]
    return faults, catalogue["reasons"]


def misplaced(faults: Sequence[Fault], root: Path = ROOT) -> list[str]:
    """Return a message for every fault that does not apply exactly once, or changes nothing."""
    found = ((f, (root / f.file).read_text(encoding="utf-8").count(f.old)) for f in faults)
    wrong = [f"{f.name}: {n} times in {f.file}, expected once" for f, n in found if n != 1]
    return wrong + [f"{f.name}: changes nothing" for f in faults if f.old == f.new]


class Copy:
    """A copy of the tree in which faults are planted and laws are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for source in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / source, folder / source, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        (folder / "planted.py").write_text(PLUGIN)

    def judge(
        self,
        library: str,
        timeout: float | None = None,
        tests: Sequence[str] = (LAWS,),
        options: Sequence[str] = (),
        examples: int | None = None,
    ) -> Outcome:
        """Run the laws on one library and return what became of them."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--tb=no"),
            *("-c", "pyproject.toml", "--rootdir", ".", f"--junitxml={report}"),
            *("-p", "no:cacheprovider", "-p", "afa_conformance.plugin", "-p", "planted"),
            *(f"--afa-backend={library}", *options),
            *(f"--hypothesis-profile=planted-{library}", f"-k={SLOW}", *tests),
            f"--afa-examples={examples or EXAMPLES[library]}",
        ]
        try:
            run = subprocess.run(
                command,
                cwd=self.folder,
                env=self._environment(),
                timeout=timeout,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome([TIMEOUT], [], [])
        if run.returncode not in (0, 1) or not report.exists():
            return Outcome([NO_START], [], [], run.stdout + run.stderr)
        return read_report(report)

    def judge_with(self, fault: Fault, timeout: float, differentiated: Sequence[str]) -> list[Any]:
        """Plant a fault, run the laws on every library, take it out again."""
        path = self.folder / fault.file
        original = path.read_text(encoding="utf-8")
        path.write_text(original.replace(fault.old, fault.new), encoding="utf-8")
        try:
            options = WITH.get(fault.path, ())
            laws = [f"{LAWS}/{group}" for group in self.groups(fault.path)]
            own = [each for each in differentiated if each.startswith(tuple(laws))]
            examples = MANY if fault.path in ESTIMATORS else None
            outcomes = {"numpy": self.judge("numpy", timeout, laws, options, examples)}
            unnoticed = not outcomes["numpy"].failed
            if fault.path in DIFFERENTIATED or unnoticed:
                tests = laws if unnoticed else [each for each in own if COMPILED not in each]
                outcomes["torch"] = self.judge("torch", timeout, tests, options)
        finally:
            path.write_text(original, encoding="utf-8")
        killers = sorted({law for outcome in outcomes.values() for law in outcome.failed})
        return [killers, [library for library, outcome in outcomes.items() if outcome.failed]]

    def groups(self, path: str) -> list[str]:
        """Return the groups of laws that a fault of this path can break."""
        found = [each.name for each in (self.folder / LAWS).iterdir() if each.is_dir()]
        everything = sorted(name for name in found if name != "__pycache__")
        whole = path in DIFFERENTIATED
        through_attention = [x for x in everything if whole or x != "estimation"]
        return list(GROUPS.get(path, through_attention))

    def _environment(self) -> dict[str, str]:
        folders = [self.folder, *(self.folder / each for each in IMPORTED)]
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }


def read_report(path: Path) -> Outcome:
    """Read the JUnit report of pytest; a law is its file and function, without parameters."""
    failed, passed, skipped = set(), set(), []
    for case in ElementTree.parse(path).iter("testcase"):
        module, name = case.get("classname", ""), case.get("name", "")
        law = f"{module.rpartition('laws.')[2].replace('.', '/')}.py::{name}"
        if not module:
            failed.add(NO_START)
        elif case.find("failure") is not None or case.find("error") is not None:
            failed.add(law.partition("[")[0])
        elif case.find("skipped") is not None:
            skipped.append(law)
        else:
            passed.add(law.partition("[")[0])
    return Outcome(sorted(failed), sorted(passed - failed), skipped)


def baseline(copy: Copy) -> tuple[list[str], list[str], float]:
    """Run the laws without a fault; return them, the tests for PyTorch, and the longest run."""
    others = [copy.judge("numpy", options=options) for options in sorted({*WITH.values()})]
    start = time.monotonic()
    plain = copy.judge("numpy")
    middle = time.monotonic()
    differentiated = [f"{LAWS}/{test}" for test in plain.skipped]
    other = copy.judge("torch", tests=differentiated) if differentiated else plain
    longest = max(middle - start, time.monotonic() - middle)
    runs = (*others, plain, other)
    if failed := [law for run in runs for law in run.failed]:
        print(*(run.output for run in runs), file=sys.stderr)
        sys.exit(f"without any fault: {', '.join(failed)}")
    laws = {*plain.passed, *other.passed}
    if idle := {test.partition("[")[0] for test in other.skipped} - laws:
        print(f"skipped on every library: {', '.join(sorted(idle))}")
    return sorted(laws), differentiated, longest


def plant(
    faults: Sequence[Fault], copies: Sequence[Copy], timeout: float, tests: Sequence[str]
) -> Iterator[tuple[Fault, list[str], list[str]]]:
    """Yield each fault with the laws that notice it and the libraries they ran on."""
    idle: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        idle.put(copy)

    def judge(fault: Fault) -> list[Any]:
        copy = idle.get()
        try:
            return copy.judge_with(fault, timeout, tests)
        finally:
            idle.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        jobs = {pool.submit(judge, fault): fault for fault in faults}
        for job in as_completed(jobs):
            yield jobs[job], *job.result()


def versions() -> dict[str, str]:
    """Return what the report depends on."""
    packages = ("afa-core", "numpy", "torch", "hypothesis", "pytest")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--report", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="faults whose name or file has it"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument(
        "--keep", action="store_true", help="go on from the report: plant what it does not settle"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the faults and return 1 if one of them, or a law, is idle."""
    options = parse(arguments)
    faults, reasons = read_catalogue()
    if wrong := misplaced(faults):
        sys.exit("\n".join(wrong))
    if options.only:
        faults = [f for f in faults if any(x in f.name or x in f.file for x in options.only)]
    with tempfile.TemporaryDirectory(prefix="afa-mutants-") as folder:
        copies = [Copy(Path(folder) / str(job)) for job in range(options.jobs)]
        laws, tests, longest = baseline(copies[0])
        print(f"{len(faults)} faults, {len(laws)} laws, {longest:.0f} s a run", flush=True)
        order = {fault.name: place for place, fault in enumerate(faults)}
        mutants = settled(options.report, faults) if options.keep else []
        known = {mutant["name"] for mutant in mutants}
        rest = [fault for fault in faults if fault.name not in known]
        for fault, killers, libraries in plant(rest, copies, 60 + 5 * longest, tests):
            shown = ", ".join(killers[:2]) or "SURVIVES"
            print(f"{len(killers):3d}  {fault.file}: {fault.name}: {shown}", flush=True)
            about = {key: getattr(fault, key) for key in ("name", "path", "forms", "file")}
            mutants.append({**about, "killed_by": killers, "backends": libraries})
            mutants.sort(key=lambda mutant: order[mutant["name"]])
            write(options.report, mutants, laws, reasons)
    broken = write(options.report, mutants, laws, reasons)
    return conclude(mutants, broken, reasons, complete=not options.only)


def write(
    path: Path, mutants: Sequence[dict[str, Any]], laws: Sequence[str], reasons: dict[str, str]
) -> dict[str, list[str]]:
    """Write the report, as far as it has come; return the faults that each law noticed."""
    broken = {law: [m["name"] for m in mutants if law in m["killed_by"]] for law in laws}
    report = {"versions": versions(), "mutants": mutants, "laws": broken, "reasons": reasons}
    path.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    return broken


def settled(path: Path, faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """Return what an earlier report says of these faults, where laws noticed them."""
    report = json.loads(path.read_text(encoding="utf-8"))
    names = {fault.name for fault in faults}
    clear = [m for m in report["mutants"] if m["killed_by"] and TIMEOUT not in m["killed_by"]]
    return [mutant for mutant in clear if mutant["name"] in names]


def conclude(
    mutants: Sequence[dict[str, Any]],
    broken: dict[str, list[str]],
    reasons: dict[str, str],
    *,
    complete: bool,
) -> int:
    """Print the survivors and the laws that nothing breaks, and return the exit status."""
    survivors = [mutant["name"] for mutant in mutants if not mutant["killed_by"]]
    idle = [law for law, names in broken.items() if not names] if complete else []
    single = sum(len(mutant["killed_by"]) == 1 for mutant in mutants)
    print(f"\n{len(mutants) - len(survivors)} of {len(mutants)} noticed, {single} by one law alone")
    for name in survivors:
        print(f"survives: {name}")
    for law in idle:
        print(f"notices nothing: {law} ({reasons.get(law, 'no reason given')})")
    return int(bool(survivors) or any(law not in reasons for law in idle))


if __name__ == "__main__":
    sys.exit(main())
