"""Draws the examples of a law, within the limits of the run.

A law names what it draws by the decorator `drawn`. What the implementation supports is known only
once pytest has been configured, so hypothesis gets its strategies when laws are collected, by
`bind`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeAlias, TypeVar
from zlib import crc32

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from afa_conformance.batching import run_together
from afa_conformance.descriptions import CHOICES, DTYPES, Description
from afa_conformance.limits import Limits, skip_unsupported
from afa_conformance.recorder import Recorder
from afa_conformance.shapes import SHAPES, choices_of, numbers_of
from afa_conformance.subject import Subject

T = TypeVar("T")
LimitedStrategy: TypeAlias = Callable[[Limits], st.SearchStrategy[T]]

LENGTHS = ((4, 4), (1, 1), (2, 2), (1, 4), (2, 5), (4, 2))
"""Numbers of queries and of keys."""
MODES = ((2, 2), (1, 1), (3, 3), (2, 1), (3, 2))
"""Numbers of modes of keys and of values."""
FEW_CHOICES: dict[str, tuple[Any, ...]] = {"leading": ((),), "sharing": ("each", "numbers")}
FEW_LENGTHS = ((4, 4),)
FEW_MODES = ((2, 2), (2, 1))


def drawn(
    **strategies: st.SearchStrategy[Any] | LimitedStrategy[Any],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a law as one of examples: its arguments of these names are drawn.

    A strategy may be a function of the `Limits` of the run, as `descriptions` returns.
    """

    def mark(law: Callable[..., None]) -> Callable[..., None]:
        @wraps(law)
        def unbound(**_: Any) -> None:
            pytest.fail("a law draws examples only under `-p afa_conformance.plugin`")

        whole = inspect.signature(law)
        fixtures = [x for name, x in whole.parameters.items() if name not in strategies]
        vars(unbound)["__signature__"] = whole.replace(parameters=fixtures)
        marked: Callable[..., None] = pytest.mark.drawn(law, strategies)(unbound)
        return marked

    return mark


def bind(
    item: pytest.Function,
    limits: Limits,
    recorder: Recorder,
    example: Mapping[str, Any] | None = None,
) -> None:
    """Let a collected law draw its examples and record them, or run it on one given example."""
    mark = item.get_closest_marker("drawn")
    if mark is None:
        item.obj = recorder.watch(item.obj, ())
        return
    law, strategies = mark.args
    watched = recorder.watch(law, strategies)
    if example is not None:

        @wraps(item.obj)
        def once(**fixtures: Any) -> None:
            watched(**fixtures, **example)

        vars(once).pop("hypothesis_explicit_examples", None)  # refused where nothing is drawn
        item.obj = once
        return
    if limits.batch and item.get_closest_marker("one_at_a_time") is None:
        item.obj = _in_batches(item, watched, strategies, limits)
        return
    bound = _within(limits, strategies)
    share = item.get_closest_marker("fewer_examples")
    item.obj = _fewer(share.args[0] if share else 1)(given(**bound)(watched))


def _within(
    limits: Limits, strategies: Mapping[str, st.SearchStrategy[Any] | LimitedStrategy[Any]]
) -> dict[str, st.SearchStrategy[Any]]:
    """Return the strategies of a law within the limits of the run."""
    return {
        name: each if isinstance(each, st.SearchStrategy) else each(limits)
        for name, each in strategies.items()
    }


def _in_batches(
    item: pytest.Function, law: Callable[..., None], strategies: Mapping[str, Any], limits: Limits
) -> Callable[..., None]:
    """Return the law on batches of problems, each of one shape; laws begin at various shapes.

    Hypothesis begins with its simplest example, a batch in which regimes are all the first; so
    there are at least two batches, and half as many shapes.
    """
    batches = max(2, -(-settings().max_examples // limits.batch))
    first, shapes = crc32(item.name.encode()), batches // 2

    def batch_of(number: int) -> st.SearchStrategy[list[dict[str, Any]]]:
        own = replace(limits, shape=(first + number) % len(SHAPES))
        each = st.fixed_dictionaries(_within(own, strategies))
        return st.lists(each, min_size=limits.batch, max_size=limits.batch, unique_by=repr)

    def together(*, subject: Subject, batch: list[dict[str, Any]], **fixtures: Any) -> None:
        laws = [partial(law, subject=subject, **fixtures, **each) for each in batch]
        run_together(laws, subject.programs.run_together)

    names = [*inspect.signature(item.obj).parameters, "batch"]
    parameters = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in names]
    vars(together)["__signature__"] = inspect.Signature(parameters)
    together.__name__ = item.obj.__name__
    drawn_batches = given(batch=st.integers(0, shapes - 1).flatmap(batch_of))(together)
    # a broken law prints its problem, not the batch, so that shrinking the batch tells nothing
    return settings(max_examples=batches, phases=[Phase.generate])(drawn_batches)


def _fewer(share: int) -> settings:
    """Return settings that draw a fraction of the profile's examples, at least two if it does."""
    examples = settings().max_examples
    return settings(max_examples=min(examples, max(2, examples // share)))


def descriptions(**fixed: Any) -> LimitedStrategy[Description]:
    """Draw a description; a keyword fixes a field to a value, or to one of several (a list).

    A field that is None is set by the law itself. Values that the implementation does not support
    are not drawn. A law that fixes dtypes is skipped in a run of another dtype.
    """
    return partial(_descriptions, fixed)


@st.composite
def _descriptions(draw: st.DrawFn, fixed: Mapping[str, Any], limits: Limits) -> Description:
    choices: dict[str, Any] = CHOICES | {"dtype": DTYPES}
    choices |= FEW_CHOICES if limits.few_shapes else {}
    choices |= {name: x if isinstance(x, list) else [x] for name, x in fixed.items()}
    if choices["dtype"] != [None]:
        if limits.dtype not in choices["dtype"]:
            needed = " or ".join(choices["dtype"])
            skip_unsupported(f"{limits.dtype}: the law needs {needed}")
        choices["dtype"] = [limits.dtype]
    kept = {name: x if x == [None] else limits.keep(name, x) for name, x in choices.items()}
    if limits.shape is None:
        sizes = draw(_sizes(limits))
    else:
        sizes = numbers_of(limits.shape, limits.supports)
        kept = choices_of(limits.shape, kept)
    values = {name: draw(st.sampled_from(each)) for name, each in kept.items()}
    return Description(**(sizes | {"seed": draw(st.integers(0, 2**32 - 1))} | values))


@st.composite
def _sizes(draw: st.DrawFn, limits: Limits) -> dict[str, Any]:
    """Draw numbers of queries, keys and modes."""
    queries, keys = draw(st.sampled_from(FEW_LENGTHS if limits.few_shapes else LENGTHS))
    pairs: tuple[tuple[int, int], ...] = FEW_MODES if limits.few_shapes else MODES
    if "modes" in limits.supports:
        pairs = tuple((d, d) for d in limits.supports["modes"])
    allowed = limits.supports.get("value_modes", [value_modes for _, value_modes in pairs])
    modes, value_modes = draw(st.sampled_from([each for each in pairs if each[1] in allowed]))
    return {"queries": queries, "keys": keys, "modes": modes, "value_modes": value_modes}
