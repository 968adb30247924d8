"""Small descriptions of problems, for hypothesis to draw and to shrink.

A failing law prints one, a line from which `sampling.sample_problem` makes the same numbers again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

FORMS = ("isotropic", "diagonal", "radial_tangential")
WEIGHTINGS = ("student", "gaussian", "rational", "uniform")
SIZES = ("ordinary", "tiny", "huge", "distant")
HALVES = ("float16", "bfloat16")
LAYOUTS = ("complex", "interleaved", "halves")
TIMES = ("default", "regular", "irregular", "tied", "integers", "far")
DTYPES = ("float64", "float32", *HALVES)


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
    times : {"default", "regular", "irregular", "tied", "integers", "far"}
        The last are irregular times 1e9 after zero.
    causal, masked, anchored : bool
        A mask hides about a third of the pairs, the last of several keys from all queries, and
        all keys from the first of several queries.
    weighting : {"student", "gaussian", "rational", "uniform"}
    temperature : {"one", "number", "array"}
    rotation : {"shared", "own", "off"}
        Whether values turn at the frequencies of keys, at their own, or not at all.
    layout : {"complex", "interleaved", "halves"}
    size : {"ordinary", "tiny", "huge", "distant"}
        Unit of the values, and its square of the noises; or tokens alone 30 times larger.
    dtype : {"float64", "float32", "float16", "bfloat16"}
        All numbers but times are exact in it.
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
    size: str = "ordinary"
    dtype: str = "float64"
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
LENGTHS = ((4, 4), (1, 1), (2, 2), (1, 4), (2, 5), (4, 2))
MODES = ((2, 2), (1, 1), (3, 3), (2, 1), (3, 2))
FEW: dict[str, tuple[Any, ...]] = {"leading": ((),), "sharing": ("each", "numbers")}
FEW_LENGTHS = ((4, 4),)
FEW_MODES = ((2, 2), (2, 1))


@dataclass
class Limits:
    """What descriptions are drawn from in this run; the plugin sets it.

    Parameters
    ----------
    supports : mapping
        From a field of `Description` to the values that the implementation can do.
    dtype : str
    few : bool
        Few shapes, where every new one is compiled.
    """

    supports: Mapping[str, tuple[Any, ...]]
    dtype: str = "float64"
    few: bool = False

    def keep(self, name: str, choices: Iterable[Any]) -> list[Any]:
        """Return the choices that are supported; without any, the law is skipped as such."""
        choices = list(choices)
        kept = [each for each in choices if each in self.supports.get(name, choices)]
        if choices and not kept:
            unsupported(f"{name} {' or '.join(repr(each) for each in choices)}")
        return kept


LIMITS = Limits({})


def without(
    value: Any, name: str, choices: tuple[Any, ...], supports: Mapping[str, tuple[Any, ...]]
) -> dict[str, tuple[Any, ...]]:
    """Return what is supported when one value of a field is not."""
    kept = tuple(each for each in supports.get(name, choices) if each != value)
    return dict(supports) | {name: kept}


def unsupported(what: str) -> None:
    """Leave the law: it is reported as unsupported, not as passed."""
    pytest.skip(f"{UNSUPPORTED}{what}")


UNSUPPORTED = "unsupported: "


@st.composite
def descriptions(draw: st.DrawFn, /, **given: Any) -> Description:
    """Draw a description; a keyword fixes a field to a value, or to one of several (a list).

    None leaves a field to be set by the law. What the implementation declares unsupported is
    not drawn; a law that fixes dtypes is left when the run has another.
    """
    menu: dict[str, Any] = CHOICES | {"dtype": DTYPES} | (FEW if LIMITS.few else {})
    menu |= {name: x if isinstance(x, list) else [x] for name, x in given.items()}
    if menu["dtype"] != [None]:
        if LIMITS.dtype not in menu["dtype"]:
            unsupported(f"{LIMITS.dtype}: the law needs {' or '.join(menu['dtype'])}")
        menu["dtype"] = [LIMITS.dtype]
    queries, keys = draw(st.sampled_from(FEW_LENGTHS if LIMITS.few else LENGTHS))
    pairs: tuple[tuple[int, int], ...] = FEW_MODES if LIMITS.few else MODES
    if "modes" in LIMITS.supports:
        pairs = tuple((d, d) for d in LIMITS.supports["modes"])
    allowed = LIMITS.supports.get("value_modes", [dv for _, dv in pairs])
    modes, value_modes = draw(st.sampled_from([each for each in pairs if each[1] in allowed]))
    sizes = {"queries": queries, "keys": keys, "modes": modes, "value_modes": value_modes}
    drawn = {
        name: draw(st.sampled_from(choices if choices == [None] else LIMITS.keep(name, choices)))
        for name, choices in menu.items()
    }
    return Description(**(sizes | {"seed": draw(st.integers(0, 2**32 - 1))} | drawn))


def fewer(share: int) -> settings:
    """Draw a fraction of the profile's examples, where a law is repeated for many cases."""
    examples = settings().max_examples
    return settings(max_examples=min(examples, max(2, examples // share)))
