"""Non-finite visible tokens show in the estimate (spec §8.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, completed, condition, visibility
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

pytestmark = pytest.mark.asserts

FOUR = descriptions(
    form=None, queries=4, keys=4, masked=[False, True],
    weighting=["student", "gaussian", "rational"],
)  # fmt: skip


def with_number(problem: DrawnProblem, name: str, token: int, number: float) -> DrawnProblem:
    """Return the problem with the last mode of one token replaced, at all leading indices."""
    x = getattr(problem, name).copy()
    x[..., token, -1] = number
    return replace(problem, **{name: x})


def visible_pairs(problem: DrawnProblem, mean: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which keys are visible to which rows of an estimate, (..., n, m)."""
    return np.broadcast_to(visibility(problem), (*mean.shape[:-1], problem.key.shape[-2]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(description=FOUR)
def test_nan_keys(subject: Subject, form: str, description: Description) -> None:
    """Spec §3, §8.4: NaN in a key makes every mode NaN of each row to which it is visible.

    Its residual is unknown, and so is every weight of the row. All other rows are finite, and the
    precision behaves alike.
    """
    problem = completed(sample_problem(description.having(form=form)))
    token = description.seed % 4
    with np.errstate(invalid="ignore"):
        mean, precision = run_estimate(with_number(problem, "key", token, np.nan), subject)
    attending = visible_pairs(problem, mean)[..., token]
    for x in (mean, *parts(precision)):
        assert np.all(np.isnan(x[attending]))
        assert np.all(np.isfinite(x[~attending]))


@pytest.mark.parametrize(
    ("form", "name"), [*((form, "query") for form in FORMS), ("radial_tangential", "anchor")]
)
@pytest.mark.fewer_examples(2)
@drawn(description=FOUR)
def test_nan_queries(subject: Subject, form: str, name: str, description: Description) -> None:
    """Spec §3, §6, §8.4: NaN in a query, or its anchor, makes its row NaN if it has a visible key.

    All other rows are finite. A NaN query also makes the precision NaN.
    """
    problem = completed(sample_problem(description.having(form=form)))
    token = description.seed % 4
    with np.errstate(invalid="ignore"):
        mean, precision = run_estimate(with_number(problem, name, token, np.nan), subject)
    attending = np.any(visible_pairs(problem, mean), axis=-1) & (np.arange(4) == token)
    concerned = (mean, *parts(precision)) if name == "query" else (mean,)
    for x in concerned:
        assert np.all(np.isnan(x[attending]))
        assert np.all(np.isfinite(x[~attending]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        correlated=[False, True], form=None, queries=4, keys=4, masked=[False, True]
    )
)
def test_infinite_values(subject: Subject, form: str, description: Description) -> None:
    """Spec §3, §8.4: an infinite value makes its mode non-finite in rows to which it is visible.

    Every visible key has some weight. All other rows are finite.
    """
    problem = completed(sample_problem(description.having(form=form)))
    token = description.seed % 4
    with np.errstate(invalid="ignore", over="ignore"):
        mean, _ = run_estimate(with_number(problem, "value", token, np.inf), subject)
    attending = visible_pairs(problem, mean)[..., token]
    assert not np.any(np.isfinite(mean[attending][:, -1]))
    assert np.all(np.isfinite(mean[~attending]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(description=FOUR)
def test_infinite_keys(subject: Subject, form: str, description: Description) -> None:
    """Spec §3: an infinite key has weight zero, as if it were masked, or makes the row non-finite.

    Finite results equal those with the key masked, to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description.having(form=form)))
    token = description.seed % 4
    others = np.arange(4) != token
    with np.errstate(invalid="ignore", over="ignore"):
        mean, precision = run_estimate(with_number(problem, "key", token, np.inf), subject)
        masked = replace(problem, mask=visibility(problem) & others)
        limit, limit_precision = run_estimate(masked, subject)
    visible = visible_pairs(problem, mean)
    rows = visible[..., token] & np.any(visible & others, axis=-1)
    tolerance = 8 * problem.eps * condition(problem)
    found, limits = (mean, *parts(precision)), (limit, *parts(limit_precision))
    for got, expected in zip(found, limits, strict=True):
        assert np.all(np.isfinite(expected))
        finite = np.isfinite(got[rows])
        subject.assert_close(got[rows][finite], expected[rows][finite], tolerance)


@drawn(
    description=descriptions(
        correlated=[False, True], queries=4, keys=4, masked=[False, True], weighting="uniform"
    )
)
def test_unused_residuals(subject: Subject, description: Description) -> None:
    """Spec §3: `Uniform()` ignores residuals, so NaN in q or k changes nothing, or gives NaN.

    Results that are not NaN stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    token = description.seed % 4
    expected_mean, expected_precision = run_estimate(problem, subject)
    expected = (expected_mean, *parts(expected_precision))
    assert np.all(np.isfinite(expected_mean))
    tolerance = 8 * problem.eps * condition(problem)
    for name in ("query", "key"):
        with np.errstate(invalid="ignore"):
            mean, precision = run_estimate(with_number(problem, name, token, np.nan), subject)
        for got, x in zip((mean, *parts(precision)), expected, strict=True):
            present = ~np.isnan(got)
            subject.assert_close(got[present], x[present], tolerance)
