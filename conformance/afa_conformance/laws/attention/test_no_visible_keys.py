"""A query without visible keys gives zeros and precision zero, never NaN (spec §8.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.functionals import Functional, differentiable, gradients
from afa_conformance.problems import TOKENS, DrawnProblem, completed
from afa_conformance.runner import applied_weights, key_axis, parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


def assert_zero(problem: DrawnProblem, rows: slice, subject: Subject) -> None:
    """Assert that estimate, precision and weights of these rows are exactly zero."""
    mean, precision = run_estimate(problem, subject)
    assert np.all(np.isfinite(mean))
    assert not np.any(mean[..., rows, :])
    axis = -2 if key_axis(problem) == -2 else -1
    for each in parts(precision):
        assert not np.any(np.moveaxis(each, axis, -1)[..., rows])
    for each in parts(applied_weights(problem, subject)):
        assert not np.any(np.moveaxis(each, axis - 1, 0)[rows])


@pytest.mark.asserts
@drawn(description=descriptions(correlated=[False, True], causal=True, queries=4, keys=2))
def test_queries_before_the_first_key(subject: Subject, description: Description) -> None:
    """Spec §8.4: queries are the last tokens, so of four with two keys the first two give zeros.

    Estimate, precision and weights are exactly zero there.
    """
    assert_zero(sample_problem(description), slice(0, 2), subject)


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(
    description=descriptions(
        form=None, correlated=[False, True], causal=True, queries=4, keys=2, masked=[False, True],
        leading=(), sharing="each", layout="interleaved", times=["default", "irregular"],
        noise="ordinary", decay="ordinary", temperature="array", anchored=True,
        dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_gradients_of_queries_before_the_first_key(
    subject: Subject, form: str, description: Description
) -> None:
    """Spec §8.4: a query that attends to no key reaches no derivative, even if it is NaN.

    All derivatives are equal to those beside finite queries, which have zero derivatives there.
    """
    problem = differentiable(description.having(form=form))
    functional = Functional.draw(problem, np.random.default_rng(description.seed))
    expected = gradients(problem, functional, subject)
    changes = {name: np.array(getattr(problem, name)) for name in ("query", "anchor")}
    for x in changes.values():
        if x.ndim:
            x[:2] = np.nan
    anchor = None if problem.anchor is None else changes["anchor"]
    given = replace(problem, query=changes["query"], anchor=anchor)
    for name, gradient in gradients(given, functional, subject).items():
        subject.assert_close(gradient, expected[name], 0.0)


@pytest.mark.asserts
@drawn(description=descriptions(queries=2, keys=4))
def test_everything_masked(subject: Subject, description: Description) -> None:
    """Spec §8.4: a mask of False gives estimate, precision and weights of exactly zero."""
    problem = replace(sample_problem(description), mask=np.zeros((2, 4), dtype=bool))
    assert_zero(problem, slice(None), subject)


@pytest.mark.asserts
@pytest.mark.fewer_examples(2)
@drawn(description=descriptions(correlated=[False, True], queries=2, keys=4, masked=False))
def test_no_keys_at_all(subject: Subject, description: Description) -> None:
    """Spec §8.4: an empty sequence of keys gives estimate and precision of exactly zero."""
    problem = completed(sample_problem(description))
    none = slice(0, 0)
    problem = replace(
        problem,
        key=problem.key[..., none, :],
        value=problem.value[..., none, :],
        key_times=problem.key_times[..., none],
    )
    mean, precision = run_estimate(problem, subject)
    assert mean.shape[-2:] == (2, problem.value_modes)
    assert not np.any(mean)
    assert not any(np.any(each) for each in parts(precision))


@pytest.mark.asserts
@pytest.mark.parametrize("absent", ["queries", "batch"])
@pytest.mark.fewer_examples(4)
@drawn(
    description=descriptions(
        correlated=[False, True], queries=4, keys=4, masked=False, leading=(), sharing="numbers"
    )
)
def test_no_rows_at_all(subject: Subject, absent: str, description: Description) -> None:
    """Spec §8.4: no queries, or an empty batch of them, have an empty estimate of the same shape.

    Estimate and precision have the axis of length 0, and all others.
    """
    problem = completed(sample_problem(description))
    names = [name for name in ("query", "anchor") if getattr(problem, name) is not None]
    names += ["query_times"] if absent == "queries" else []
    arrays = {name: getattr(problem, name) for name in names}
    none = {name: (x if absent == "queries" else x[np.newaxis])[:0] for name, x in arrays.items()}
    found, full = run_estimate(replace(problem, **none), subject), run_estimate(problem, subject)
    for x, whole in zip((found[0], *parts(found[1])), (full[0], *parts(full[1])), strict=True):
        assert x.shape == (0, *whole.shape[absent == "queries" :])


@pytest.mark.asserts
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(6)
@drawn(
    description=descriptions(
        form=None, queries=200, keys=200, masked=False, leading=(), sharing="numbers",
        times="default", weighting="uniform",
    )
)  # fmt: skip
def test_no_rows_of_a_convolution(subject: Subject, form: str, description: Description) -> None:
    """Spec §8.4: an empty batch has an empty estimate of the same shape where weights are uniform.

    On a grid of so many tokens attention may be a convolution.
    """
    problem = sample_problem(description.having(form=form))
    names = [name for name in TOKENS if getattr(problem, name) is not None]
    none = {name: getattr(problem, name)[np.newaxis][:0] for name in names}
    mean, precision = run_estimate(replace(problem, **none), subject)
    assert mean.shape == (0, 200, problem.value_modes)
    for each in parts(precision):
        assert each.shape[:2] == (0, 200)


@pytest.mark.asserts
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(
    description=descriptions(
        form=None, correlated=[False, True], queries=4, keys=4, masked=False, leading=(),
        sharing="each", layout="interleaved", times="irregular", noise="ordinary",
        decay="ordinary", temperature="array", anchored=True, dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_gradients_of_keys_without_a_query(
    subject: Subject, form: str, description: Description
) -> None:
    """Spec §8.4: a key that no query attends to reaches no derivative, whatever its numbers.

    Without queries this is every key: all derivatives are exactly zero.
    """
    problem = differentiable(description.having(form=form))
    names = (
        ("query", "query_times") if problem.anchor is None else ("query", "query_times", "anchor")
    )
    none: dict[str, Any] = {name: getattr(problem, name)[:0] for name in names}
    changes: dict[str, Any] = {
        name: np.array(getattr(problem, name)) for name in ("key", "value", "key_times")
    }
    for x, anything in zip(changes.values(), (np.inf, np.nan, -np.inf), strict=True):
        x[1] = anything
    given = replace(problem, **none, **changes)
    functional = Functional.draw(given, np.random.default_rng(description.seed))
    for name, gradient in gradients(given, functional, subject).items():
        assert not np.any(gradient), f"gradient of {name}"
