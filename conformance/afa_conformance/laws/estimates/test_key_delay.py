"""A delay of the keys adds to every lag (spec §10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example
from hypothesis import strategies as st

import afa_core
from afa_conformance.comparisons import assert_per_form
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import DrawnProblem, completed, condition
from afa_conformance.runner import call, fetch, read, send
from afa_conformance.sampling import TICK, sample_problem
from afa_conformance.subject import Subject

pytestmark = pytest.mark.needs("library")

TIMED = descriptions(times=["default", "regular", "irregular", "tied"])
DELAYS = st.sampled_from(["number", "each"])


def floating(description: Description) -> DrawnProblem:
    problem = completed(sample_problem(description))
    return replace(problem, key_times=np.asarray(problem.key_times, dtype=float))


def draw_delay(problem: DrawnProblem, kind: str, seed: int) -> Any:
    """Return δ, a number or one for every leading index."""
    shape = problem.leading if kind == "each" else ()
    delay = np.random.default_rng([seed, 3]).integers(0, 2000, shape) * TICK
    return np.asarray(delay) if kind == "each" else float(delay)


def delayed(problem: DrawnProblem, delay: Any, subject: Subject) -> DrawnProblem:
    """Return the sent problem, its keys delayed by the library."""
    sent = send(problem, subject)
    if isinstance(delay, np.ndarray):
        delay = subject.from_numpy(delay.astype(subject.times_dtypes["f"]))
    return replace(sent, key_times=afa_core.delay_keys(sent.key_times, delay))


@pytest.mark.many_shapes
@drawn(description=TIMED, kind=DELAYS)
@example(  # every key is far, so the estimate has the roundings of E
    description=Description(
        queries=2, keys=2, leading=(2,), sharing="numbers", decay="stiff", times="irregular",
        masked=True, weighting="uniform", seed=786780529,
    ),
    kind="number",
)  # fmt: skip
def test_delay_adds_to_every_lag(subject: Subject, description: Description, kind: str) -> None:
    """Spec §10: lags are Δ + δ in E, Σ and phase; visibility stays that of the sequence.

    Estimate and precision, to 16 ε times the condition of the problem. The oracle adds δ to the
    query times instead.
    """
    problem = floating(description)
    delay = draw_delay(problem, kind, description.seed)
    mean, precision = call(afa_core.estimate, delayed(problem, delay, subject), subject)
    later = replace(problem, query_times=problem.query_times + np.asarray(delay)[..., None])
    exact = double_sum(later)
    tolerance = 16 * problem.eps * condition(later)
    subject.assert_close(read(mean, problem, subject), exact.mean, tolerance)
    assert_per_form(fetch(precision, subject), exact.precision, tolerance, subject)


@drawn(description=TIMED, kind=DELAYS)
def test_key_times_are_shifted_back(subject: Subject, description: Description, kind: str) -> None:
    """Spec §10: the times returned are t_j − δ, exactly, with the leading axes of both."""
    problem = floating(description)
    delay = draw_delay(problem, kind, description.seed)
    got = fetch(delayed(problem, delay, subject).key_times, subject)
    expected = problem.key_times - np.asarray(delay)[..., None]
    assert got.shape == expected.shape
    subject.assert_close(got, expected, 0.0)
