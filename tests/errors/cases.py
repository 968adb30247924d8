"""What a row of the tables is, and the good arguments that a row changes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import afa_core as afa
from afa_core.backend import Backend

NOISE = afa.Noise(0.2, 1.0, 1.0)


class Case(NamedTuple):
    """One call's arguments, and the error that each of the functions raises for them."""

    name: str
    functions: tuple[Callable[..., Any], ...]
    arguments: dict[str, Any]
    error: Exception


class Foreign(NamedTuple):
    """An array of another library than the one under test."""

    array: np.ndarray


class Computed(NamedTuple):
    """The result of a function, computed by the library under test."""

    function: Callable[..., Any]
    arguments: dict[str, Any]


def bad_input(
    *functions: Callable[..., Any],
    good: dict[str, Any] | None = None,
    rows: list[tuple[dict[str, Any], Exception]],
) -> list[Case]:
    """Cases of functions that raise the same errors: each row replaces good arguments."""
    return [
        Case(f"{functions[0].__name__}-{'-'.join(bad)}", functions, {**(good or {}), **bad}, error)
        for bad, error in rows
    ]


def hosted(tree: Any, library: Backend, other: Backend) -> Any:
    """Return nested arguments with their NumPy arrays moved to the library under test."""
    if isinstance(tree, Foreign):
        return other.from_numpy(tree.array)
    if isinstance(tree, Computed):
        return tree.function(**hosted(tree.arguments, library, other))
    if type(tree) is np.ndarray:
        return library.from_numpy(tree)
    if isinstance(tree, dict):
        return {name: hosted(each, library, other) for name, each in tree.items()}
    if isinstance(tree, tuple):
        branches = [hosted(each, library, other) for each in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
    return tree


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def ones(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.ones(shape, dtype)


def array(*numbers: float, dtype: str = "float64") -> np.ndarray:
    return np.asarray(numbers, dtype)


def foreign(*shape: int, dtype: str = "float64") -> Foreign:
    return Foreign(np.ones(shape, dtype))


def computed(function: Callable[..., Any], **arguments: Any) -> Computed:
    return Computed(function, arguments)


def isotropic(**changes: Any) -> afa.IsotropicSDE:
    return afa.IsotropicSDE(0.1, ones(2), NOISE)._replace(**changes)


def diagonal(**changes: Any) -> afa.DiagonalSDE:
    return afa.DiagonalSDE(ones(2), ones(2), NOISE)._replace(**changes)


def radial_tangential(**changes: Any) -> afa.RadialTangentialSDE:
    return afa.RadialTangentialSDE(0.1, ones(2), NOISE, NOISE)._replace(**changes)


def noise(**changes: Any) -> afa.Noise:
    return NOISE._replace(**changes)
