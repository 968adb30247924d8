"""Small descriptions of problems, for hypothesis to draw and to shrink.

A broken law prints one, a line from which `sampling.sample_problem` makes the same numbers again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

FORMS = ("isotropic", "diagonal", "radial_tangential")
WEIGHTINGS = ("student", "gaussian", "rational", "uniform")
SIZES = ("ordinary", "tiny", "huge", "distant")
HALVES = ("float16", "bfloat16")
LAYOUTS = ("complex", "interleaved", "halves")
TIMES = ("default", "regular", "irregular", "tied", "integers", "far")
DTYPES = ("float64", "float32", *HALVES)


@dataclass(frozen=True, repr=False)
class Description:
    """The shape and regime of a problem, and the seed of its numbers.

    Parameters
    ----------
    form : {"isotropic", "diagonal", "radial_tangential"}
    queries, keys, modes, value_modes : int
    leading : tuple of int
        Batch and heads.
    sharing : {"each", "keys", "heads", "parameters", "numbers"}
        What leading indices share: nothing; keys, by a group of queries; or parameters, one for
        each head (the last leading axis), one for all, or one for all as Python numbers.
    decay : {"ordinary", "zero", "slow", "stiff"}
    noise : {"ordinary", "no process", "no measurement", "no query"}
    times : {"default", "regular", "irregular", "tied", "integers", "far"}
        Far times are irregular, from 1e9 on.
    causal, masked, anchored : bool
        A mask hides about a third of the pairs, the last of several keys from all queries, and
        all keys from the first of several queries.
    weighting : {"student", "gaussian", "rational", "uniform"}
    dof : float or None
        Degrees of freedom as a Python number; None leaves them to the seed.
    temperature : {"one", "number", "array"}
    rotation : {"shared", "own", "off"}
        Whether values rotate at the frequencies of keys, at their own, or not at all.
    layout : {"complex", "interleaved", "halves"}
    size : {"ordinary", "tiny", "huge", "distant"}
        Unit of the values, and of the noises its square; or distant: only queries and keys are 30
        times larger.
    dtype : {"float64", "float32", "float16", "bfloat16"}
        All numbers but times are exact in it.
    correlated, query_variance : bool
        Whether keys are correlated, so that a mask hides keys from all queries; whether queries
        have variances of their own.
    seed : int
    """

    form: str = "isotropic"
    queries: int = 4
    keys: int = 4
    modes: int = 2
    value_modes: int = 2
    leading: tuple[int, ...] = ()
    sharing: str = "each"
    decay: str = "ordinary"
    noise: str = "ordinary"
    times: str = "default"
    causal: bool = True
    masked: bool = False
    anchored: bool = False
    weighting: str = "student"
    dof: float | None = None
    temperature: str = "one"
    rotation: str = "shared"
    layout: str = "complex"
    size: str = "ordinary"
    dtype: str = "float64"
    correlated: bool = False
    query_variance: bool = False
    seed: int = 0

    def __repr__(self) -> str:
        changed = (
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        )
        return f"Description({', '.join(changed)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def having(self, **changes: Any) -> Description:
        """Return the description with some fields changed."""
        return replace(self, **changes)


CHOICES: dict[str, tuple[Any, ...]] = {
    "form": FORMS,
    "leading": ((), (2,), (3,), (2, 3)),
    "sharing": ("each", "keys", "heads", "parameters", "numbers"),
    "decay": ("ordinary", "zero", "slow", "stiff"),
    "noise": ("ordinary", "no process", "no measurement", "no query"),
    "times": ("default", "regular", "irregular", "tied", "integers"),
    "causal": (True, False),
    "masked": (False, True),
    "anchored": (False, True),
    "weighting": WEIGHTINGS,
    "temperature": ("one", "number", "array"),
    "rotation": ("shared", "own", "off"),
    "layout": LAYOUTS,
    "size": ("ordinary",),
}
