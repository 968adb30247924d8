"""The innovation is the estimate less the token's own value (spec §10)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import afa_core
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition
from afa_conformance.runner import call, fetch, read, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_conformance.trajectories import trajectory

pytestmark = pytest.mark.needs("library")


@drawn(description=descriptions(queries=4, keys=4))
def test_innovation_is_the_difference(subject: Subject, description: Description) -> None:
    """Spec §10: x̂ − v, rounded once, with the leading axes of both."""
    problem = sample_problem(description)
    sent = send(problem, subject)
    mean = call(subject.attention, sent, subject)
    got = afa_core.innovation(mean, sent.value)
    assert got.dtype == sent.value.dtype
    estimate, value = (read(x, problem, subject) for x in (mean, sent.value))
    expected = np.asarray(estimate, dtype=complex) - np.asarray(value, dtype=complex)
    subject.assert_close(read(got, problem, subject), expected, problem.eps)


@drawn(
    description=descriptions(
        queries=4, keys=4, causal=True, masked=False, decay=["ordinary", "zero", "slow"],
        times=["default", "regular", "tied"],
    )
)  # fmt: skip
def test_innovation_of_a_trajectory_is_zero(subject: Subject, description: Description) -> None:
    """Spec §7.5, §10: tokens that follow the dynamics are their own estimates: x̂ − v = 0.

    To 16 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    _, value = trajectory(problem, tokens="value")
    followed = replace(problem, value=value)
    sent = send(followed, subject)
    got = afa_core.innovation(call(subject.attention, sent, subject), sent.value)
    subject.assert_close(
        np.abs(fetch(got, subject)), np.zeros(got.shape), 16 * problem.eps * condition(problem),
        scale=float(np.max(np.abs(value))),
    )  # fmt: skip
