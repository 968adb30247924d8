"""Weights are averages over the visible keys of a query (spec §4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import visibility
from afa_conformance.runner import applied_weights, key_axis, parts, run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions())
def test_rows_sum_to_one_or_zero(subject: Subject, description: Description) -> None:
    """Spec §4, §8.4: rows of A sum to 1, or to 0 without visible keys, to 8 ε.

    Weights are at least 0, and exactly 0 for hidden pairs.
    """
    problem = sample_problem(description)
    visible, axis = visibility(problem), key_axis(problem)
    for weights in parts(applied_weights(problem, subject)):
        assert np.all(weights >= 0.0)
        pairs = visible if axis == -1 else visible[..., None]
        assert not np.any(np.where(pairs, 0.0, weights))
        rows = np.sum(weights, axis=axis)
        expected = np.any(pairs, axis=axis).astype(float)
        subject.assert_close(rows, np.broadcast_to(expected, rows.shape), 8 * problem.eps)


@pytest.mark.parametrize("decay", ["zero", "ordinary"])
@drawn(
    description=descriptions(
        form="isotropic", times=["default", "regular", "tied"], rotation="off", masked=False
    )
)
def test_decayed_rows_sum_to_at_most_one(
    subject: Subject, decay: str, description: Description
) -> None:
    """Spec §4: rows of A⊙E sum to at most 1, with equality iff μ = 0: A is normalised before E.

    To 8 ε. Values of 1 that do not rotate make the estimate these sums.
    """
    problem = sample_problem(description.having(decay=decay))
    problem = replace(problem, value=np.ones_like(problem.value))
    rows = run_attention(problem, subject)
    visible = np.any(visibility(problem), axis=-1)[..., None]
    subject.assert_close(rows.imag, np.zeros_like(rows.imag), problem.eps)
    expected = np.broadcast_to(visible, rows.shape).astype(float)
    if decay == "zero":
        subject.assert_close(rows.real, expected, 8 * problem.eps)
    else:
        assert np.all(rows.real <= expected * (1.0 + 8 * problem.eps))
        weights = applied_weights(problem, subject)
        distinct = problem.query_times is None  # every other key has decayed
        others = 1.0 - np.max(weights, axis=-1)[..., None] if distinct else 0.0
        assert np.all(rows.real <= expected * (1.0 - 0.02 * others) + 8 * problem.eps)
