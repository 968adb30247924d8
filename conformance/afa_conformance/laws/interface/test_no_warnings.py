"""Valid arguments give no warning (spec §8)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, completed, visibility
from afa_conformance.runner import call, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

pytestmark = pytest.mark.asserts


def call_strictly(problem: DrawnProblem, subject: Subject) -> None:
    """Run attention and estimate with warnings as errors."""
    eager = replace(subject, compiled=False)  # compilers raise warnings of their own
    sent = send(problem, eager)
    for function in (eager.attention, eager.estimate):
        if function is not None:
            with warnings.catch_warnings(action="error"):
                call(function, sent, eager)


@drawn(
    description=descriptions(
        size=["ordinary", "tiny", "huge", "distant"],
        times=["default", "regular", "irregular", "tied", "integers", "far"],
        decay=["ordinary", "zero", "slow", "stiff"],
    )
)
def test_no_warning_in_any_regime(subject: Subject, description: Description) -> None:
    """Spec §8: stiff, tiny, huge, tied or hidden: no overflow, division by zero or cast warns."""
    call_strictly(sample_problem(description), subject)


@drawn(description=descriptions(masked=True, queries=[4], keys=[4]))
def test_no_warning_of_hidden_tokens(subject: Subject, description: Description) -> None:
    """Spec §8.4: hidden tokens are not computed with, so that NaN and inf in them do not warn."""
    problem = completed(sample_problem(description))
    hidden = ~np.any(visibility(problem), axis=-2)  # (..., m)
    hidden = np.all(hidden, axis=tuple(range(hidden.ndim - 1)))[:, None]
    first = np.arange(4)[:, None] == 0

    def with_number(x: Any, where: Any, what: float) -> Any:
        return None if x is None else np.where(where, what, x)

    changed = replace(
        problem,
        query=with_number(problem.query, first, np.inf),
        key=with_number(problem.key, hidden, np.inf),
        value=with_number(problem.value, hidden, np.nan),
        anchor=with_number(problem.anchor, first, np.nan),
    )
    call_strictly(changed, subject)
