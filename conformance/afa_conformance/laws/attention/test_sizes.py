"""Attention is equation (3.1) at every length, on both sides of every tile (spec §3, §9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.comparisons import assert_estimate
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.limits import Limits
from afa_conformance.oracles.direct import direct
from afa_conformance.problems import DrawnProblem, completed, condition
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

SIZES = (1, 2, 7, 33, 64, 130, 257)
FEW_SIZES = (7, 33)
MODES = (1, 2, 3, 4, 5)
SPAN = 8.0
DISTANT = 100.0


@st.composite
def long(draw: st.DrawFn, limits: Limits) -> Description:
    """Draw a description of any length, small ones first."""
    few = limits.few_shapes
    sizes = list(FEW_SIZES if few else SIZES)
    modes = list(limits.keep("modes", (2,) if few else MODES))
    within = descriptions(
        queries=sizes, keys=sizes, modes=modes, leading=[()] if few else [(), (2,)],
        times=["default", "regular", "irregular", "tied"], noise="ordinary",
        decay=["ordinary", "zero"],
    )  # fmt: skip
    description = draw(within(limits))
    return description.having(value_modes=description.modes)


def within_reach(description: Description) -> DrawnProblem:
    """Return a problem with times divided so that no key is far.

    The divisor is a power of two, so that differences stay exact.
    """
    problem = completed(sample_problem(description))
    last = float(np.max(np.abs(problem.key_times)))
    shrink = 2.0 ** -max(0.0, np.ceil(np.log2(max(last, 1.0) / SPAN)))
    return replace(
        problem,
        query_times=problem.query_times * shrink,
        key_times=problem.key_times * shrink,
    )


def assert_direct(problem: DrawnProblem, subject: Subject) -> None:
    """Compare with the direct evaluation, to 8 ε √m times the condition, as m terms are added."""
    exact = direct(problem)
    tolerance = 8 * problem.eps * condition(problem) * np.sqrt(problem.key.shape[-2])
    expected = exact.mean, exact.precision
    assert_estimate(run_estimate(problem, subject), expected, tolerance, subject)


@drawn(description=long)
def test_as_many_queries_as_keys(subject: Subject, description: Description) -> None:
    """Equation (3.1) at n = m, from one token to hundreds, also between powers of two.

    Mean and precision, to 8 ε √m times the condition of the problem.
    """
    assert_direct(within_reach(description.having(queries=description.keys)), subject)


@drawn(description=long)
def test_more_queries_or_more_keys(subject: Subject, description: Description) -> None:
    """Spec §8.4: equation (3.1) at n ≠ m, where the queries are the last tokens.

    Mean and precision, to 8 ε √m times the condition of the problem.
    """
    assert_direct(within_reach(description), subject)


@pytest.mark.fewer_examples(2)
@drawn(description=long)
def test_one_near_key_among_distant_ones(subject: Subject, description: Description) -> None:
    """Spec §9: equation (3.1) where logits rise or fall by thousands between tiles.

    One key is near every query; all others are so far that their weights underflow. To 8 ε √m times
    the condition of the problem.
    """
    problem = within_reach(description.having(causal=False, masked=False, weighting="gaussian"))
    place = np.arange(problem.key.shape[-2]) == description.seed % problem.key.shape[-2]
    near = np.where(place[:, None], problem.key, DISTANT * problem.key)
    assert_direct(replace(problem, key=near), subject)


BESIDE: dict[str, Callable[[int], int]] = {
    "one less": lambda tile: tile - 1,
    "as long": lambda tile: tile,
    "one more": lambda tile: tile + 1,
    "twice and one": lambda tile: 2 * tile + 1,
}


@pytest.mark.parametrize("side", ["both", "queries", "keys"])
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.fewer_examples(8)
@drawn(description=long)
def test_across_tiles(subject: Subject, beside: str, side: str, description: Description) -> None:
    """Spec §9: equation (3.1) at lengths beside every declared tile size.

    Mean and precision, to 8 ε √m times the condition of the problem.
    """
    if not subject.tiles:
        pytest.skip("it declares no tiles")
    for tile in subject.tiles:
        size = max(1, BESIDE[beside](tile))
        changes: dict[str, Any] = {each: size for each in ("queries", "keys")}
        if side != "both":
            changes = {side: size}
        assert_direct(within_reach(description.having(**changes)), subject)
