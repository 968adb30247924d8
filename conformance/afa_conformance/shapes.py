"""The shapes that laws are put to in batches: one compiled program serves all problems of a shape.

A shape fixes every field of a `Description` that decides what is compiled: kinds, numbers of
tokens, which arguments there are. Problems of one shape differ in their numbers, and in the fields
`NUMERIC`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from afa_conformance.descriptions import Description
from afa_conformance.limits import Supports

NUMERIC = ("decay", "noise", "size")
"""Fields that are drawn for each problem of a shape, as is the seed."""
DEFAULTS = {each.name: each.default for each in fields(Description)}
TIMES = {"irregular": ("irregular", "tied", "far"), "regular": ("regular",)}
"""Kinds of times that are arrays of one shape."""

SHAPES: tuple[Mapping[str, Any], ...] = (
    {"dof": 4.0},
    {
        "form": "diagonal", "weighting": "gaussian", "times": "irregular", "masked": True,
        "leading": (2,), "layout": "interleaved", "temperature": "array", "rotation": "own",
    },
    {
        "form": "radial_tangential", "weighting": "rational", "causal": False, "anchored": True,
        "leading": (2, 3), "sharing": "keys", "layout": "halves", "rotation": "own",
    },
    {
        "weighting": "uniform", "times": "regular", "queries": 2, "keys": 5, "value_modes": 1,
        "rotation": "off", "leading": (2, 3), "sharing": "heads", "temperature": "number",
    },
    {
        "form": "diagonal", "weighting": "student", "times": "integers", "causal": False,
        "sharing": "parameters", "leading": (3,), "modes": 3, "value_modes": 3,
    },
    {
        "form": "radial_tangential", "dof": 3.0, "times": "irregular", "masked": True,
        "anchored": True, "layout": "interleaved", "value_modes": 1, "rotation": "off",
    },
    {
        "times": "irregular", "causal": False, "masked": True, "leading": (2,),
        "temperature": "array", "layout": "halves", "modes": 1, "value_modes": 1,
    },
    {
        "form": "radial_tangential", "weighting": "gaussian", "sharing": "parameters",
        "layout": "interleaved",
    },
    {
        "form": "diagonal", "weighting": "rational", "times": "irregular", "masked": True,
        "leading": (2,), "temperature": "array", "correlated": True, "query_variance": True,
    },
    {
        "weighting": "rational", "times": "irregular", "causal": False, "leading": (2, 3),
        "sharing": "heads", "layout": "halves", "rotation": "off", "correlated": True,
    },
)  # fmt: skip


NUMBERS = ("queries", "keys", "modes", "value_modes", "dof")


def numbers_of(shape: int, supports: Supports) -> dict[str, Any]:
    """Return the numbers of queries, keys and modes of a shape, and its degrees of freedom."""
    numbers = {name: SHAPES[shape].get(name, DEFAULTS[name]) for name in NUMBERS}
    if modes := supports.get("modes"):
        numbers |= dict.fromkeys(("modes", "value_modes"), modes[shape % len(modes)])
    return numbers


def choices_of(shape: int, choices: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Return the choices of each field that a shape leaves: one, or several if it is numeric.

    Where the value of the shape is not among the choices, one of them takes its place.
    """
    left = dict(choices)
    for name, allowed in choices.items():
        if name not in NUMERIC:
            value = SHAPES[shape].get(name, DEFAULTS[name])
            value = value if value in allowed else allowed[shape % len(allowed)]
            left[name] = [each for each in TIMES.get(value, (value,)) if each in allowed]
    return left
