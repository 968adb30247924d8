"""The packages import each other as docs/architecture.md says, and are cut into small pieces."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

BACKENDS = ("afa_numpy", "afa_torch", "afa_jax", "afa_cupy")
CONFORMANCE = ("afa_conformance", "afa_bench")
LEVELS = (
    {"_array"},
    {"_dispatch", "backend"},
    {"model", "_checks"},
    {"reference", "streaming", "linear", "windowed", "kalman"},
    {"implementations", "attention"},
    {"decoding", "distributed", "layer", "timeseries"},
    {"command"},
)
"""Groups of `afa_core`, lowest first: a group imports itself, its level and all lower ones."""
LEVEL = {group: level for level, groups in enumerate(LEVELS) for group in groups}
EXCEPTION = ("afa_core._dispatch", "afa_torch.execution")
"""`torch.compile` follows an import statement, but not the registry of entry points."""
LIBRARIES = {"timeseries": {"numpy", "scipy"}, "command": {"matplotlib", "numpy", "pandas"}}
"""What groups of `afa_core` import beside array-api-compat and the standard library."""
MAX_ROOT_MODULES, MAX_MODULE_LINES, MAX_BODY_LINES = 12, 300, 45


class Module(NamedTuple):
    """A source file of the packages."""

    name: str  # a package's `__init__` has the package's name
    path: Path
    tree: ast.Module


def read_modules() -> dict[str, Module]:
    """Return all modules of the installed packages by name."""
    found = {}
    for package in ("afa_core", *BACKENDS, *CONFORMANCE):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
    return found


MODULES = read_modules()


def imports_of(module: Module) -> Iterator[str]:
    """Yield the dotted names that a module imports, those inside functions included."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(origin), names=names, level=0):
                for each in names:
                    inner = f"{origin}.{each.name}"
                    yield inner if inner in MODULES else origin
            case ast.Call(func=ast.Name(id="import_module"), args=[ast.Constant(value=str(name))]):
                if name in MODULES:  # other libraries may be imported lazily
                    yield name


IMPORTS = {name: set(imports_of(module)) for name, module in MODULES.items()}


def package_of(name: str) -> str:
    return name.split(".")[0]


def group_of(name: str) -> str:
    """Return the group of a module of `afa_core`, empty for its front door."""
    return [*name.split("."), ""][1].replace("__main__", "command")


def breaks_rule(importer: str, imported: str) -> bool:
    """Whether an import goes against the dependency rule."""
    source, target = package_of(importer), package_of(imported)
    if target not in {"afa_core", *BACKENDS, *CONFORMANCE}:
        known = target in sys.stdlib_module_names or target == "array_api_compat"
        return source == "afa_core" and not (
            known or target in LIBRARIES.get(group_of(importer), set())
        )
    if source in CONFORMANCE:
        return False
    if target in CONFORMANCE:
        return True
    if source in BACKENDS:
        return target in BACKENDS and target not in (source, "afa_numpy")
    if target in BACKENDS:
        return (importer, imported) != EXCEPTION
    group, needed = group_of(importer), group_of(imported)
    if not group:  # the front door shows what lies behind it
        return needed == "command"
    return not needed or LEVEL[needed] > LEVEL[group]


def test_every_module_belongs_to_a_group():
    groups = {group_of(name) for name in MODULES if package_of(name) == "afa_core"}
    assert groups == {"", *LEVEL}


def test_imports_follow_the_dependency_rule():
    against = [
        f"{importer} imports {imported}"
        for importer, names in IMPORTS.items()
        for imported in sorted(names)
        if breaks_rule(importer, imported)
    ]
    assert not against, "\n".join(against)


def cycle_from(start: str) -> list[str]:
    """Return a chain of imports from a module back to it, empty if there is none."""
    trail, seen = [[start]], {start}
    while trail:
        path = trail.pop()
        for name in sorted(IMPORTS[path[-1]] & IMPORTS.keys()):
            if name == start:
                return [*path, name]
            if name not in seen:
                seen.add(name)
                trail.append([*path, name])
    return []


def test_no_two_files_import_each_other_at_any_depth():
    cycles = [" → ".join(cycle) for name in MODULES if (cycle := cycle_from(name))]
    assert not cycles, "\n".join(cycles)


def test_few_modules_stand_at_the_root():
    root = MODULES["afa_core"].path.parent
    assert len(list(root.glob("*.py"))) <= MAX_ROOT_MODULES


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function's body, its docstring not counted."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


@pytest.mark.parametrize("package", ["afa_core", *BACKENDS, *CONFORMANCE])
def test_pieces_are_small(package):
    long = []
    for name, module in MODULES.items():
        if package_of(name) != package:
            continue
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_MODULE_LINES:
            long.append(f"{name} has {lines} lines")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = body_lines(node)
                if lines > MAX_BODY_LINES:
                    long.append(f"{name}:{node.name} has a body of {lines} lines")
    assert not long, "\n".join(long)


PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"


def test_the_page_lists_every_group_and_the_rule():
    page = PAGE.read_text(encoding="utf-8")
    for groups in LEVELS:
        listed = {group for line in page.splitlines() for group in [line.strip()] if group}
        assert any(set(line.split(", ")) == groups for line in listed), groups
        for group in groups:
            assert f"    {group}/ " in page or f"    {group}.py " in page, group


def test_files_that_the_page_names_exist():
    root = PAGE.parents[1]
    folders = ("afa_core", "backends", "conformance", "docs", "tests")
    present = [path for folder in folders for path in (root / folder).rglob("*")]
    paths = ["/noxfile.py", *("/" + path.relative_to(root).as_posix() for path in present)]
    named = re.findall(r"`([\w./*]+(?:\.py|\.toml|\.md|/))`", PAGE.read_text(encoding="utf-8"))
    missing = [
        name
        for name in dict.fromkeys(named)
        if name != "pyproject.toml" and not fnmatch.filter(paths, f"*/{name.rstrip('/')}")
    ]
    assert not missing
