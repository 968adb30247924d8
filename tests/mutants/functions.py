"""The source of a function, found by its module and its qualified name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "backends", "docs/examples")
"""Folders that modules are imported from, relative to the root of the repository."""
MODULE = "<module>"
"""Name for what a module contains outside its functions and classes."""


class Span(NamedTuple):
    """Part of a text, from `start` to before `end`."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """Return the part of `text`."""
        return text[self.start : self.end]


def module_path(module: str, root: Path = ROOT) -> Path:
    """Return the file of a module, relative to the root of the repository."""
    stem = module.replace(".", "/")
    for folder in FOLDERS:
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if (root / folder / file).is_file():
                return Path(folder, file)
    msg = f"no module {module!r} in {', '.join(FOLDERS)}"
    raise LookupError(msg)


@lru_cache(maxsize=64)
def functions(source: str) -> dict[str, Span]:
    """Return the functions, methods and classes of a module, by qualified name.

    A nested function is named ``outer.inner``, without ``<locals>``. Of several definitions of the
    same name the last one counts.
    """
    starts = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, Span]]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from walk(child, prefix)
                continue
            first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
            name = prefix + child.name
            yield name, Span(starts[first - 1], starts[child.end_lineno or first])
            yield from walk(child, f"{name}.")

    return dict(walk(ast.parse(source), ""))


def spans(source: str, name: str) -> list[Span]:
    """Return the span of a function in the source of its module, or those of `MODULE`."""
    known = functions(source)
    if name in known:
        return [known[name]]
    if name != MODULE:
        msg = f"no function {name!r}, only {', '.join(known) or 'none'}"
        raise LookupError(msg)
    ends = accumulate((span.end for span in known.values()), max, initial=0)
    starts = [*(span.start for span in known.values()), len(source)]
    return [Span(end, start) for end, start in zip(ends, starts, strict=True) if end < start]
