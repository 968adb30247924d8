"""Non-finite visible tokens show in the estimate (spec §8.4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, completed, condition, visibility
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

FOUR = descriptions(
    form=None, queries=4, keys=4, masked=[False, True],
    weighting=["student", "gaussian", "rational"],
)  # fmt: skip


def spoilt(problem: DrawnProblem, name: str, token: int, what: float) -> DrawnProblem:
    """Return the problem with one number of one token replaced, for all leading indices."""
    x = getattr(problem, name).copy()
    x[..., token, -1] = what
    return replace(problem, **{name: x})


def seen_by(problem: DrawnProblem, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which query sees which key, for the leading axes of an estimate, (..., n, m)."""
    return np.broadcast_to(visibility(problem), (*shape[:-1], problem.key.shape[-2]))


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
        mean, precision = run_estimate(spoilt(problem, "key", token, np.nan), subject)
    sees = seen_by(problem, mean.shape)[..., token]
    for x in (mean, *parts(precision)):
        assert np.all(np.isnan(x[sees]))
        assert np.all(np.isfinite(x[~sees]))


@pytest.mark.parametrize("name", ["query", "anchor"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(description=FOUR)
def test_nan_queries(subject: Subject, form: str, name: str, description: Description) -> None:
    """Spec §3, §6, §8.4: NaN in a query, or its anchor, makes its row NaN if it has a visible key.

    All other rows are finite. A NaN query also makes the precision NaN.
    """
    problem = completed(sample_problem(description.having(form=form)))
    if getattr(problem, name) is None:
        return
    token = description.seed % 4
    with np.errstate(invalid="ignore"):
        mean, precision = run_estimate(spoilt(problem, name, token, np.nan), subject)
    sees = np.any(seen_by(problem, mean.shape), axis=-1) & (np.arange(4) == token)
    judged = (mean, *parts(precision)) if name == "query" else (mean,)
    for x in judged:
        assert np.all(np.isnan(x[sees]))
        assert np.all(np.isfinite(x[~sees]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(description=descriptions(form=None, queries=4, keys=4, masked=[False, True]))
def test_infinite_values(subject: Subject, form: str, description: Description) -> None:
    """Spec §3, §8.4: an infinite value makes its mode non-finite in rows to which it is visible.

    Every visible key has some weight. All other rows are finite.
    """
    problem = completed(sample_problem(description.having(form=form)))
    token = description.seed % 4
    with np.errstate(invalid="ignore", over="ignore"):
        mean, _ = run_estimate(spoilt(problem, "value", token, np.inf), subject)
    sees = seen_by(problem, mean.shape)[..., token]
    assert not np.any(np.isfinite(mean[sees][:, -1]))
    assert np.all(np.isfinite(mean[~sees]))


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
        mean, precision = run_estimate(spoilt(problem, "key", token, np.inf), subject)
        limit, claimed = run_estimate(replace(problem, mask=visibility(problem) & others), subject)
    seen = seen_by(problem, mean.shape)
    judged = seen[..., token] & np.any(seen & others, axis=-1)
    tolerance = 8 * problem.eps * condition(problem)
    for got, expected in zip((mean, *parts(precision)), (limit, *parts(claimed)), strict=True):
        finite = np.isfinite(got[judged])
        subject.assert_close(got[judged][finite], expected[judged][finite], tolerance)


@drawn(description=descriptions(queries=4, keys=4, masked=[False, True], weighting="uniform"))
def test_unused_residuals(subject: Subject, description: Description) -> None:
    """Spec §3: `Uniform()` ignores residuals, so NaN in q or k changes nothing, or gives NaN.

    Results that are not NaN stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    token = description.seed % 4
    expected = (run_estimate(problem, subject)[0], *parts(run_estimate(problem, subject)[1]))
    tolerance = 8 * problem.eps * condition(problem)
    for name in ("query", "key"):
        with np.errstate(invalid="ignore"):
            mean, precision = run_estimate(spoilt(problem, name, token, np.nan), subject)
        for got, x in zip((mean, *parts(precision)), expected, strict=True):
            number = ~np.isnan(got)
            subject.assert_close(got[number], x[number], tolerance)
