"""Results as trees: arrays in tuples, named or not, some of them None."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def leaves_of(tree: Any) -> list[Any]:
    """Return the arrays of a tree, in order."""
    if isinstance(tree, tuple):
        return [leaf for branch in tree for leaf in leaves_of(branch)]
    return [] if tree is None else [tree]


def with_leaves_of(tree: Any, leaves: Iterable[Any]) -> Any:
    """Return the tree with other arrays."""
    return _replaced(tree, iter(leaves))


def _replaced(tree: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(tree, tuple):
        branches = [_replaced(branch, leaves) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
    return None if tree is None else next(leaves)
