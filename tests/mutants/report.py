"""The report of the mutants: how each was killed, and which mutants each law killed."""

from __future__ import annotations

import json
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from catalogue import Mutant
from copies import TIMEOUT
from kill import ANYWHERE, Kill, Suspects

PACKAGES = ("afa-core", "numpy", "torch", "hypothesis", "pytest")

Entry = dict[str, Any]


def read(path: Path) -> list[Entry]:
    """Return the mutants of a report, none if it has not been written yet."""
    if not path.exists():
        return []
    entries: list[Entry] = json.loads(path.read_text(encoding="utf-8"))["mutants"]
    return entries


def entry(mutant: Mutant, kill: Kill) -> Entry:
    """Return what a report holds of a mutant."""
    return {
        "name": mutant.name,
        "function": mutant.place,
        "run": mutant.run.name,
        "forms": mutant.forms,
        "killed_by": kill.laws,
        "backends": kill.libraries,
    }


def suspects(entries: Iterable[Entry]) -> Suspects:
    """Return which laws killed the mutants of a report."""
    by_mutant = {}
    by_place: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in entries:
        by_mutant[each["name"]] = Kill(each["killed_by"], each["backends"])
        for place in (each["function"], each["function"].partition(":")[0], ANYWHERE):
            by_place[place].update(each["killed_by"])
    ordered = {place: [law for law, _ in laws.most_common()] for place, laws in by_place.items()}
    return Suspects(by_mutant, ordered)


def settled(entries: Iterable[Entry], mutants: Iterable[Mutant]) -> list[Entry]:
    """Return the entries of the given mutants that tell which laws kill them."""
    names = {each.name for each in mutants}
    return [
        each
        for each in entries
        if each["name"] in names and each["killed_by"] and TIMEOUT not in each["killed_by"]
    ]


def write(
    path: Path, entries: Sequence[Entry], laws: Sequence[str], reasons: Mapping[str, str]
) -> dict[str, list[str]]:
    """Write the report as far as it has come; return the mutants that each law kills."""
    kills = {law: [each["name"] for each in entries if law in each["killed_by"]] for law in laws}
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    report = {"versions": versions, "mutants": entries, "laws": kills, "reasons": reasons}
    text = json.dumps(report, ensure_ascii=False, indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")
    return kills


def conclude(
    entries: Sequence[Entry], kills: Mapping[str, Sequence[str]], reasons: Mapping[str, str]
) -> int:
    """Print the survivors and the laws that kill no mutant, and return the exit status."""
    survivors = [each["name"] for each in entries if not each["killed_by"]]
    idle = [law for law, names in kills.items() if not names]
    single = sum(len(each["killed_by"]) == 1 for each in entries)
    print(f"\n{len(entries) - len(survivors)} of {len(entries)} killed, {single} by one law alone")
    for name in survivors:
        print(f"survives: {name}")
    for law in idle:
        print(f"kills no mutant: {law} ({reasons.get(law, 'no reason given')})")
    return int(bool(survivors) or any(law not in reasons for law in idle))
