"""Prompts of different lengths are decoded together (spec §8.4, §9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import assert_same, at_own_times, decode
from afa_conformance.problems import at_index, completed
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import RadialTangential

FIRST, TOKENS, ROWS = 4, 6, 2
SHAPES = {
    "leading": (ROWS,), "queries": TOKENS, "keys": TOKENS, "causal": True, "masked": False,
    "correlated": [False, True],
}  # fmt: skip


@pytest.mark.many_shapes
@pytest.mark.parametrize("side", ["left", "right"])
@drawn(description=descriptions(times=["default", "irregular", "tied"], **SHAPES))
def test_rows_are_independent(subject: Subject, side: str, description: Description) -> None:
    """Spec §9: a hidden token has no effect, whatever it and its time are, in whatever slot.

    Each sequence equals attention over its own tokens, to 8 ε times the condition of the problem.
    Default times are positions in the padded row.
    """
    problem = at_own_times(sample_problem(description))
    problem = problem if description.times == "default" else completed(problem)
    lengths = 1 + description.seed % 3, FIRST
    slots = np.arange(TOKENS)
    mask = np.stack(
        [
            (slots >= FIRST - n) if side == "left" else (slots < n) | (slots >= FIRST)
            for n in lengths
        ]
    )
    hidden = ~mask[..., None]
    padded = replace(
        problem,
        key=np.where(hidden, np.nan, problem.key),
        value=np.where(hidden, np.inf, problem.value),
        anchor=problem.value if problem.anchor is None else problem.anchor,
    )
    if problem.key_times is not None:
        times = np.where(mask, np.broadcast_to(problem.key_times, mask.shape), np.nan)
        padded = replace(padded, key_times=times)
    if description.form != "radial_tangential":
        padded = replace(padded, anchor=None)
    sizes = [1] * (TOKENS - FIRST) if description.seed % 2 else [TOKENS - FIRST]
    mean, precision = decode(padded, subject, sizes, first=FIRST, mask=mask)
    for row in range(ROWS):
        single = at_index(completed(problem), (row,))
        kept = np.flatnonzero(mask[row])
        single = replace(
            single,
            query=single.query[kept],
            key=single.key[kept],
            value=single.value[kept],
            anchor=None if single.anchor is None else single.anchor[kept],
            query_times=single.query_times[kept],
            key_times=single.key_times[kept],
        )
        directional = isinstance(precision, RadialTangential)
        row_precision = (
            RadialTangential(*(x[row] for x in precision)) if directional else precision[row]
        )
        expected = run_estimate(single, subject)
        assert_same(
            (mean[row], row_precision), expected, single, subject, slice(FIRST - TOKENS, None)
        )


@pytest.mark.many_shapes
@drawn(description=descriptions(times=["default", "irregular"], **SHAPES))
def test_finished_rows(subject: Subject, description: Description) -> None:
    """Spec §9: a token that a step masks is no key, neither to itself nor to later tokens.

    Steps equal attention under that mask, to 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    mask = np.ones((ROWS, TOKENS), dtype=bool)
    mask[0, 2:5] = False
    sizes = [1] * TOKENS if description.seed % 2 else [2, 3, 1]
    found = decode(problem, subject, sizes, mask=mask)
    hidden = replace(problem, mask=mask[:, None, :])
    assert_same(found, run_estimate(hidden, subject), hidden, subject)


@pytest.mark.asserts
@pytest.mark.many_shapes
@drawn(description=descriptions(weighting=["student", "rational", "gaussian"], **SHAPES))
def test_no_visible_token(subject: Subject, description: Description) -> None:
    """Spec §8.4: where no token of a cache is visible, estimate and precision are exactly zero."""
    problem = at_own_times(sample_problem(description))
    mask = np.zeros((ROWS, TOKENS), dtype=bool)
    mean, precision = decode(problem, subject, [1, 2, 1], first=2, mask=mask)
    assert not np.any(mean)
    assert not any(np.any(x) for x in parts(precision))


@pytest.mark.many_shapes
@pytest.mark.parametrize("sizes", [[1] * TOKENS, [4, 2]])
@drawn(description=descriptions(times=["irregular", "tied"], anchored=True, **SHAPES))
def test_hidden_tokens_before_the_first_key(
    subject: Subject, sizes: list[int], description: Description
) -> None:
    """Spec §8.4, §9: a new token that attends to no key gives zeros, whatever it and its time are.

    All others equal attention, to 8 ε times the condition of the problem.
    """
    problem = at_own_times(completed(sample_problem(description)))
    mask = np.ones((ROWS, TOKENS), dtype=bool)
    mask[0, :2] = mask[1, :3] = False
    expected = run_estimate(replace(problem, mask=mask[:, None, :]), subject)
    names = ["query", "key", "value", *([] if problem.anchor is None else ["anchor"])]
    changes: dict[str, Any] = {
        name: np.where(mask[..., None], getattr(problem, name), np.nan) for name in names
    }
    times = np.where(mask, np.broadcast_to(problem.key_times, mask.shape), np.nan)
    padded = replace(problem, **changes, query_times=times, key_times=times)
    found = decode(padded, subject, sizes, mask=mask)
    for x in (found[0], *parts(found[1])):
        for row, start in enumerate((2, 3)):
            assert not np.any(x[row, :start])
    assert_same(found, expected, problem, subject)
