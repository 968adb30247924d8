"""The packages export what `public_api.txt` lists: names, parameters and defaults.

Members of classes are those that the API reference lists. `python tests/test_public_api.py` writes
the list anew, which needs all libraries but CuPy.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

LIST = Path(__file__).with_name("public_api.txt")
PAGES = Path(__file__).parents[1] / "docs"
# Each module, and what it cannot be imported without.
MODULES = {
    "afa_core": [],
    "afa_core.kalman": [],
    "afa_core.layer": [],
    "afa_core.distributed": [],
    "afa_core.timeseries": ["numpy", "scipy"],
    "afa_core.backend": [],
    "afa_numpy": [],
    "afa_numpy.onnx": ["ndonnx", "onnxscript"],
    "afa_torch": ["torch"],
    "afa_torch.nn": ["torch"],
    "afa_torch.transformers": ["torch", "transformers"],
    "afa_jax": ["jax"],
    "afa_jax.equinox_layer": ["equinox"],
    "afa_jax.flax_layer": ["flax"],
    "afa_cupy": [],
}
SIMPLE = bool, int, float, str, type(None)
"""Types of the defaults that are listed; others are ``...``."""
ADVICE = (
    "The public names of {module} are not those of tests/public_api.txt. Where that is meant, and "
    "docs/policies.md allows it: `python tests/test_public_api.py`, and a news fragment.\n"
)


def documented() -> dict[str, set[str]]:
    """Return what the API reference lists, by full name, and members of it; ``*`` for all."""
    found: dict[str, set[str]] = {}
    directive = r"^\.\. (currentmodule|autofunction|autoclass):: (\S+)\n((?: +\S.*\n)*)"
    option = r":(?:special-)?members:(.*(?:\n {6}.*)*)"
    for page in ("api.md", "api-frameworks.md"):
        text = (PAGES / page).read_text(encoding="utf-8")
        for kind, name, options in re.findall(directive, text, flags=re.MULTILINE):
            if kind == "currentmodule":
                module = name
                continue
            members = [
                re.findall(r"\w+", listed) or ["*"] for listed in re.findall(option, options)
            ]
            found[f"{module}.{name}"] = {each for listed in members for each in listed}
    return found


DOCUMENTED = documented()


def parameters_of(function: Callable[..., Any], bound: int = 0) -> str:
    """Return the parameters of a function without those that are bound, and without annotations."""

    def plain(each: inspect.Parameter) -> inspect.Parameter:
        written = each.default is each.empty or type(each.default) in SIMPLE
        return each.replace(annotation=each.empty, default=each.default if written else ...)

    parameters = [*inspect.signature(function).parameters.values()][bound:]
    return str(inspect.Signature([*map(plain, parameters)])).replace("=Ellipsis", "=...")


def constructor_of(cls: type) -> Callable[..., Any] | None:
    """Return the function that takes the arguments of a class; None if it is another library's."""
    name = "__new__" if issubclass(cls, tuple) else "__init__"
    (home, *_) = (base for base in cls.__mro__ if name in vars(base))
    return vars(home)[name] if home.__module__.startswith("afa_") else None


def members_of(cls: type, full_name: str) -> list[str]:
    """Return the names of the members that are listed, of all those of this library's classes."""
    listed = DOCUMENTED.get(full_name, set())
    if "*" not in listed:
        return sorted(listed)
    own = {
        name for base in cls.__mro__ if base.__module__.startswith("afa_") for name in vars(base)
    }
    fields = inspect.signature(cls).parameters
    return sorted(name for name in own - {*fields} if not name.startswith("_"))


def lines_of(value: Any, name: str, module: str) -> Iterator[str]:
    """Yield the line of a public name; that of a class is followed by those of its members."""
    if not inspect.isclass(value):
        yield name + (parameters_of(value) if inspect.isroutine(value) else "")
        return
    constructor = constructor_of(value)
    yield name + (parameters_of(constructor, 1) if constructor else "")
    for member in members_of(value, f"{module}.{name}"):
        found = inspect.getattr_static(value, member)
        function = getattr(found, "__func__", found)  # of static and class methods
        bound = not isinstance(found, staticmethod)
        yield f"{name}.{member}" + (parameters_of(function, bound) if callable(function) else "")


def surface_of(module: str) -> str:
    """Return the public names of a module as a section of the list."""
    found = import_module(module)
    lines = (each for n in found.__all__ for each in lines_of(getattr(found, n), n, module))
    return "".join(f"{line}\n" for line in (f"[{module}]", *lines))


def sections() -> dict[str, str]:
    """Return the sections of the list by module."""
    parts = re.split(r"\n(?=\[)", LIST.read_text(encoding="utf-8"))
    return {part[1 : part.index("]")]: part for part in parts}


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_those_of_the_list(module):
    for library in MODULES[module]:
        pytest.importorskip(library)
    listed, found = sections()[module].splitlines(), surface_of(module).splitlines()
    changes = [*difflib.unified_diff(listed, found, "listed", "exported", n=0, lineterm="")]
    if changes:
        pytest.fail(ADVICE.format(module=module) + "\n".join(changes), pytrace=False)


def test_the_list_has_all_that_the_reference_has():
    assert [*sections()] == [*MODULES]
    listed = {
        f"{module}.{name}"
        for module, section in sections().items()
        for name in re.findall(r"^\w+", section, flags=re.MULTILINE)
    }
    assert len(DOCUMENTED) > 80
    missing = {*DOCUMENTED} - listed
    assert not missing


if __name__ == "__main__":
    LIST.write_text("\n".join(map(surface_of, MODULES)), encoding="utf-8")
