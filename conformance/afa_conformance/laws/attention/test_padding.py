"""Padding and batching do not change a sequence (spec §8.1, §8.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, at_index, completed, condition, visibility
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

LONG, SHORT = 24, 7


def padded(x: NDArray[Any], length: int, axis: int, fill_value: Any) -> NDArray[Any]:
    """Return an array whose axis is extended at its end to a length."""
    shape = list(x.shape)
    shape[axis] = length - shape[axis]
    return np.concatenate([x, np.full(shape, fill_value, dtype=x.dtype)], axis=axis)


def with_padding(problem: DrawnProblem, queries: int, keys: int) -> DrawnProblem:
    """Return the problem padded by hidden tokens, NaN at NaN times."""
    n, m = problem.query.shape[-2], problem.key.shape[-2]
    mask = padded(padded(visibility(problem), m + keys, -1, False), n + queries, -2, False)
    fill_value = np.nan if problem.key_times.dtype.kind == "f" else np.iinfo(np.int32).max

    def tokens(x: Any, more: int) -> Any:
        return None if x is None else padded(x, x.shape[-2] + more, -2, np.nan)

    return replace(
        problem,
        query=tokens(problem.query, queries),
        key=tokens(problem.key, keys),
        value=tokens(problem.value, keys),
        anchor=tokens(problem.anchor, queries),
        query_times=padded(problem.query_times, n + queries, -1, fill_value),
        key_times=padded(problem.key_times, m + keys, -1, fill_value),
        mask=mask,
        causal=False,
    )


def assert_rows(
    found: Any, expected: Any, subject: Subject, tolerance: float, rows: int, axis: int
) -> None:
    """Assert that the first rows are those expected and the others zero."""
    first, rest = np.split(found, [rows], axis=axis)
    subject.assert_close(first, expected, tolerance)
    assert not np.any(rest)


@pytest.mark.parametrize("queries", [0, 5])
@pytest.mark.fewer_examples(4)
@drawn(description=descriptions(times=["default", "irregular", "tied", "integers"]))
def test_padding_changes_no_row(subject: Subject, queries: int, description: Description) -> None:
    """Spec §8.4: appended NaN queries, keys, values and times that are hidden have no effect.

    To 8 ε times the condition of the problem. Rows of padding have no visible key, so they are
    zero, with precision zero.
    """
    problem = completed(sample_problem(description))
    n = problem.query.shape[-2]
    mean, precision = run_estimate(problem, subject)
    padded_mean, padded_precision = run_estimate(with_padding(problem, queries, 3), subject)
    tolerance = 8 * problem.eps * condition(problem)
    assert_rows(padded_mean, mean, subject, tolerance, n, -2)
    axis = -2 if description.form == "diagonal" else -1
    for got, expected in zip(parts(padded_precision), parts(precision), strict=True):
        assert_rows(got, expected, subject, tolerance, n, axis)


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(4)
@drawn(
    description=descriptions(
        queries=LONG, keys=LONG, leading=(2,), sharing=["each", "parameters"], noise="ordinary",
        times=["default", "irregular"], masked=False, anchored=True,
    )
)  # fmt: skip
def test_sequences_of_unequal_length(subject: Subject, description: Description) -> None:
    """Spec §8.1, §8.4: a batch padded to its longest sequence gives each sequence its own result.

    Estimate and precision, to 8 ε times the condition of the problem; rows of padding are zero.
    """
    problem = completed(sample_problem(description))
    lengths = (LONG, SHORT)
    present = np.arange(LONG) < np.asarray(lengths)[:, None]  # (2, tokens)

    def with_nan(x: Any) -> Any:
        return None if x is None else np.where(present[..., None], x, np.nan)

    names = ("query", "key", "value", "anchor")
    tokens = {name: with_nan(getattr(problem, name)) for name in names}
    batch = replace(problem, **tokens, mask=present[:, :, None] & present[:, None, :])
    mean, precision = run_estimate(batch, subject)
    for index, length in enumerate(lengths):
        single = at_index(problem, (index,))
        short = replace(
            single,
            query=single.query[:length],
            key=single.key[:length],
            value=single.value[:length],
            anchor=None if single.anchor is None else single.anchor[:length],
            query_times=single.query_times[:length],
            key_times=single.key_times[:length],
        )
        expected_mean, expected_precision = run_estimate(short, subject)
        tolerance = 8 * problem.eps * condition(problem)
        subject.assert_close(mean[index, :length], expected_mean, tolerance)
        assert not np.any(mean[index, length:])
        for got, expected in zip(parts(precision), parts(expected_precision), strict=True):
            subject.assert_close(got[index, :length], expected, tolerance)
