"""Small descriptions of problems, for hypothesis to draw and to shrink.

A failing law prints one, a line from which `realising.realise` makes the same numbers again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

FORMS = ("isotropic", "diagonal", "radial_tangential")
WEIGHTINGS = ("student", "gaussian", "rational", "uniform")


@dataclass(frozen=True, repr=False)
class Description:
    """What a problem is like; with the seed it determines every number.

    Parameters
    ----------
    form : {"isotropic", "diagonal", "radial_tangential"}
    queries, keys, modes, value_modes : int
    leading : tuple of int
        Batch and heads.
    sharing : {"each", "keys", "heads", "parameters", "numbers"}
        Every leading index has everything of its own; or a group of queries shares its keys; or
        parameters belong to heads, the last leading axis; or all share them; or they are Python
        numbers.
    decay : {"ordinary", "zero", "slow", "stiff"}
    noise : {"ordinary", "no process", "no measurement", "no query"}
    times : {"default", "regular", "irregular", "tied", "integers"}
    causal, masked, anchored : bool
        A mask hides about a third of the pairs, the last of several keys from all queries, and
        all keys from the first of several queries.
    weighting : {"student", "gaussian", "rational", "uniform"}
    temperature : {"one", "number", "array"}
    rotation : {"shared", "own", "off"}
        Whether values turn at the frequencies of keys, at their own, or not at all.
    layout : {"complex", "interleaved", "halves"}
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
    temperature: str = "one"
    rotation: str = "shared"
    layout: str = "complex"
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
    "layout": ("complex", "interleaved", "halves"),
}
SIZES = ((4, 4), (1, 1), (2, 2), (1, 4), (2, 5), (4, 2))
MODES = ((2, 2), (1, 1), (3, 3), (2, 1), (3, 2))
BRIEF = 8
"""A profile of at most so many examples keeps to the few shapes below."""
FEW: dict[str, tuple[Any, ...]] = {"leading": ((),), "sharing": ("each", "numbers")}
FEW_SIZES = ((4, 4),)
FEW_MODES = ((2, 2), (2, 1))


@st.composite
def descriptions(draw: st.DrawFn, /, **given: Any) -> Description:
    """Draw a description; a keyword fixes a field to a value, or to one of several (a list)."""

    def one_of(choice: Any) -> Any:
        return draw(st.sampled_from(choice)) if isinstance(choice, list) else choice

    brief = settings().max_examples <= BRIEF
    menu = CHOICES | FEW if brief else CHOICES
    queries, keys = draw(st.sampled_from(FEW_SIZES if brief else SIZES))
    modes, value_modes = draw(st.sampled_from(FEW_MODES if brief else MODES))
    drawn: dict[str, Any] = {
        "queries": queries,
        "keys": keys,
        "modes": modes,
        "value_modes": value_modes,
        **{name: list(choices) for name, choices in menu.items()},
        "seed": draw(st.integers(0, 2**32 - 1)),
    }
    return Description(**{name: one_of(choice) for name, choice in (drawn | given).items()})


def fewer(share: int) -> settings:
    """Draw a fraction of the profile's examples, where a law is repeated for many cases."""
    return settings(max_examples=max(2, settings().max_examples // share))
