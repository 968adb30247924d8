"""Draws calls: a function on a library, and the problem, all from a seed and a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from afa_conformance.descriptions import CHOICES, HALVES, TIMES, Description
from afa_conformance.fuzz import twists
from afa_conformance.fuzz.nonfinite import with_nonfinite
from afa_conformance.problems import DrawnProblem
from afa_conformance.sampling import rounded, sample_problem

Choices = dict[str, tuple[Any, ...]]

LIBRARIES = {
    "numpy": ("float64", "float32", "float16"),
    "torch": ("float64", "float32", "float16", "bfloat16"),
    "jax": ("float64", "float32", "bfloat16"),
    "array_api_strict": ("float64", "float32"),
}
"""Libraries, with the dtypes of tokens that are drawn for them."""
DIFFERENTIABLE = ("torch", "jax")
FUNCTIONS = {
    "estimate": 8,
    "attention": 4,
    "attention_weights": 2,
    "windowed_attention": 2,
    "decode": 3,
    "partial_attention": 3,
    "kalman.filter": 1,
    "kalman.smoother": 1,
    "gradients": 4,
}
"""Functions, with how often each is drawn; gradients only where the library has them."""
OF_KEYS = ("windowed_attention", "decode")
"""Functions that take a mask of keys, of a causal sequence in the order of time."""
FEW = (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 17)
"""Numbers of tokens, on both sides of those of small tiles."""
MANY = (126, 128, 129, 255, 256, 257, 262, 513)
"""On both sides of those at which implementations, blocks and integer powers are chosen."""
TILES = (None, 1, 2, 3, 4, 8)


@dataclass(frozen=True)
class Call:
    """A call of a public function on one library.

    Parameters
    ----------
    seed, number : int
        From which everything else follows.
    library, function, implementation : str
    tile : int or None
    problem : DrawnProblem
        Finite, from which the expected result is computed.
    given : DrawnProblem
        What the function gets: the same, with non-finite numbers that a part of the rows ignores.
    changes : tuple of str
        How the problem differs from that of its description.
    """

    seed: int
    number: int
    library: str
    function: str
    implementation: str
    tile: int | None
    problem: DrawnProblem
    given: DrawnProblem
    changes: tuple[str, ...]

    def __str__(self) -> str:
        chosen = f"{self.implementation}, tile {self.tile}" if self.tile else self.implementation
        changes = f", {', '.join(self.changes)}" if self.changes else ""
        return (
            f"--seed={self.seed} --only={self.number}: {self.library} {self.function} ({chosen}) "
            f"of {self.problem.description!r}{changes}"
        )

    @cached_property
    def rng(self) -> np.random.Generator:
        """What the function draws beside the problem, such as the steps of decoding."""
        return np.random.default_rng((self.seed, self.number, 1))

    def of(self, change: Callable[[DrawnProblem], DrawnProblem]) -> Call:
        """Return the call with another form of its problem."""
        return replace(self, problem=change(self.problem), given=change(self.given))


def draw_call(seed: int, number: int, libraries: Sequence[str]) -> Call:
    """Return a call: the same of the same seed, number and libraries."""
    rng = np.random.default_rng((seed, number))
    library = str(rng.choice(libraries))
    weights = np.asarray([*FUNCTIONS.values()], dtype=float)
    if library not in DIFFERENTIABLE:
        weights[-1] = 0.0
    function = str(rng.choice([*FUNCTIONS], p=weights / np.sum(weights)))
    description = _description(rng, library, function)
    problem = sample_problem(description)
    problem, changes = twists.twisted(problem, rng, _scope(problem, function))
    problem = rounded(problem, description.dtype)
    given = problem
    if rng.random() < 0.4:
        given, which = with_nonfinite(problem, rng, hidden=function == "gradients")
        changes = (*changes, *which)
    implementation = str(rng.choice(("auto", "streaming", "streaming", "reference")))
    if function not in ("attention", "estimate", "gradients"):
        implementation = "auto"
    tile = None if implementation == "reference" else TILES[rng.integers(len(TILES))]
    many = max(description.queries, description.keys) > max(FEW)
    tile = None if many and tile is not None and tile < max(FEW) else tile
    return Call(seed, number, library, function, implementation, tile, problem, given, changes)


def _description(rng: np.random.Generator, library: str, function: str) -> Description:
    """Draw the description of the problem of a function."""
    choices: Choices = CHOICES | {
        "times": TIMES,
        "size": ("ordinary", "ordinary", "ordinary", "tiny", "huge", "distant"),
        "dtype": LIBRARIES[library],
        "correlated": (False, True),
        "query_variance": (False, False, True),
        "leading": ((), (), (2,), (1,), (3, 2), (1, 2), (2, 1, 2)),
    }
    choices |= _needs(function)
    fields = {name: x[rng.integers(len(x))] for name, x in choices.items()}
    if fields["dtype"] in HALVES and fields["layout"] == "complex":
        fields["layout"] = "interleaved"
    queries, keys = (int(each) for each in rng.choice(FEW[1:], 2))
    if rng.random() < 0.03:
        queries, keys = (int(each) for each in rng.choice(MANY, 2))
        fields["leading"] = ()
    if function == "decode" or rng.random() < 0.5:
        queries = keys
    modes, value_modes = (int(each) for each in rng.integers(1, 5, 2))
    return Description(
        queries=queries,
        keys=keys,
        modes=modes,
        value_modes=value_modes,
        dof=(None, None, None, 1.0, 3.0, 8.0)[rng.integers(6)],
        seed=int(rng.integers(2**32)),
        **fields,
    )


def _needs(function: str) -> Choices:
    """Return what the descriptions of a function are restricted to."""
    match function:
        case "windowed_attention":
            return {
                "form": ("isotropic",),
                "causal": (True,),
                "temperature": ("one",),
                "decay": ("ordinary", "stiff"),
                "masked": (False,),
            }
        case "decode":
            return {"causal": (True,), "masked": (False,)}
        case "gradients":
            return {
                "times": ("default", "regular", "irregular", "tied"),
                "layout": ("interleaved", "halves"),
                "dtype": ("float64", "float32"),
                "size": ("ordinary", "distant"),
            }
        case _:
            return {}


def _scope(problem: DrawnProblem, function: str) -> twists.Scope:
    """Return which changes the function allows."""
    kept, empty = (
        {
            "windowed_attention": ("inverse_temperature", "decay"),
            "partial_attention": ("tolerance",),
            "gradients": ("tolerance",),
        },
        {"decode": ("tokens",)},
    )
    if problem.correlated:
        empty["partial_attention"] = ("queries",)
    return twists.Scope(
        ordered=problem.correlated or function in OF_KEYS,
        kept=kept.get(function, ()),
        empty=empty.get(function, ("queries", "keys", "tokens")),
        integers=function != "gradients" and not problem.correlated,
    )
