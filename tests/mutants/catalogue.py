"""The mutants of `catalogue.toml`, and how the laws are run on them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from functions import ROOT, module_path
from substitution import Substitution

FILE = Path(__file__).with_name("catalogue.toml")
FORMS = ("isotropic", "diagonal", "radial_tangential")


class Change(Protocol):
    """A change of one function."""

    def apply(self, source: str, function: str) -> str:
        """Return the source of a module with the change in one of its functions."""


class Run(NamedTuple):
    """How the laws are run on a mutant.

    Parameters
    ----------
    name : str
        What the catalogue calls it.
    options : sequence of str
        Of the conformance suite: the implementation under test where it is not `auto`.
    gradients : bool
        Whether the laws that need PyTorch are run even if NumPy kills the mutant.
    examples : int, optional
        How many each law draws on NumPy, where not the usual number.
    library : str
        The only array library whose arrays the implementation under test takes; empty if all.
    """

    name: str
    options: tuple[str, ...] = ()
    gradients: bool = False
    examples: int | None = None
    library: str = ""


class Mutant(NamedTuple):
    """The library with one function changed.

    Parameters
    ----------
    name : str
        What is wrong with it.
    module, function : str
        The module, and the qualified name of the function in it.
    forms : list of str
        Forms of the model that pass through the change.
    run : Run
        How the laws are run on it.
    change : Change
        What is changed.
    """

    name: str
    module: str
    function: str
    forms: list[str]
    run: Run
    change: Change

    @property
    def place(self) -> str:
        """The function that is changed, ``module:qualified name``."""
        return f"{self.module}:{self.function}"

    @property
    def path(self) -> Path:
        """File of the module, relative to the root of the repository."""
        return module_path(self.module)

    def changed(self, source: str) -> str:
        """Return the source of the module with the change."""
        return self.change.apply(source, self.function)


class Catalogue(NamedTuple):
    """What the catalogue contains.

    Parameters
    ----------
    mutants : list of Mutant
        The mutants.
    runs : dict
        How the laws are run on each module, and on each function that has mutants of its own.
    reasons : dict
        Why laws kill no mutant, by law.
    equivalent : dict
        Why mutants that are made mechanically survive, by place and name.
    """

    mutants: list[Mutant]
    runs: dict[str, Run]
    reasons: dict[str, str]
    equivalent: dict[str, str]


def read(path: Path = FILE) -> Catalogue:
    """Read the catalogue."""
    text = tomllib.loads(path.read_text(encoding="utf-8"))
    runs = {
        name: Run(name, **(entry | {"options": tuple(entry.get("options", ()))}))
        for name, entry in text["runs"].items()
    }
    mutants = [
        Mutant(
            entry["name"],
            group["module"],
            function,
            entry.get("forms", group.get("forms", [*FORMS])),
            read_run(entry, runs[group["run"]]),
            Substitution(entry["replace"], entry["with"], entry.get("occurrence")),
        )
        for group in text["modules"]
        for function, entries in group["mutants"].items()
        for entry in entries
    ]
    by_place = {}
    for each in reversed(mutants):
        by_place[each.module] = by_place[each.place] = each.run
    return Catalogue(mutants, by_place, text["reasons"], text["equivalent"])


def read_run(entry: dict[str, Any], run: Run) -> Run:
    """Return the run of the mutant of an entry, which may draw more examples than others."""
    return run._replace(examples=entry.get("examples", run.examples))


def mistakes(mutants: Iterable[Mutant], root: Path = ROOT) -> list[str]:
    """Return a message for every mutant that cannot be made, with the source of its function."""
    found = []
    for each in mutants:
        try:
            each.changed((root / module_path(each.module, root)).read_text(encoding="utf-8"))
        except (LookupError, SyntaxError) as error:
            found.append(f"{each.name}: {each.change} cannot be made in {each.place}: {error}")
    return found
