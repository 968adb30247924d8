"""Queries one at a time give the same as all at once (spec §8.4, §9)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import condition
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(3)
@drawn(description=descriptions(causal=True, anchored=True, masked=False, queries=4, keys=4))
def test_one_query_against_a_growing_cache(subject: Subject, description: Description) -> None:
    """Spec §8.4: one query against the keys so far gives its row of the causal estimate.

    Queries are the last tokens, so all these keys are visible. To 8 ε times the condition of the
    problem.
    """
    problem = sample_problem(description)
    rows = []
    for last in range(1, 5):
        newest, cache = slice(last - 1, last), slice(0, last)
        timed = problem.key_times is not None
        step = replace(
            problem,
            query=problem.query[..., newest, :],
            key=problem.key[..., cache, :],
            value=problem.value[..., cache, :],
            anchor=None if problem.anchor is None else problem.anchor[..., newest, :],
            query_times=problem.query_times[..., newest] if timed else None,
            key_times=problem.key_times[..., cache] if timed else None,
        )
        rows.append(run_attention(step, subject))
    expected = run_attention(problem, subject)
    subject.assert_close(
        np.concatenate(rows, axis=-2), expected, 8 * problem.eps * condition(problem)
    )


@drawn(description=descriptions(causal=True, anchored=True, masked=False, queries=4, keys=4))
def test_last_queries(subject: Subject, description: Description) -> None:
    """Spec §8.4: the last two queries alone give the last two rows of the estimate.

    To 8 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    timed = problem.query_times is not None
    last = replace(
        problem,
        query=problem.query[..., 2:, :],
        anchor=None if problem.anchor is None else problem.anchor[..., 2:, :],
        query_times=problem.query_times[..., 2:] if timed else None,
    )
    expected = run_attention(problem, subject)[..., 2:, :]
    subject.assert_close(
        run_attention(last, subject), expected, 8 * problem.eps * condition(problem)
    )
