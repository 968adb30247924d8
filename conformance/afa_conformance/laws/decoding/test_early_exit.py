"""Far keys of a long cache may be left out once their weight cannot matter (spec §14)."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import at_own_times, decode
from afa_conformance.problems import DrawnProblem, leaves, with_leaves
from afa_conformance.runner import parts
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE

TOKENS, STEPS = 8_500, 3
NEAR = 2_048
ROUNDING = {"float64": 1e-11, "float32": 2e-5}
CACHES = descriptions(
    correlated=True, causal=True, masked=False, noise="ordinary", decay="zero", rotation="off",
    size="ordinary", leading=[(2,)], queries=TOKENS, keys=TOKENS, times=["default", "regular"],
    dtype=["float64", "float32"],
)  # fmt: skip


def remembering(problem: DrawnProblem, influence: float) -> DrawnProblem:
    """Return a problem whose keys before the near ones have that influence together.

    The last of two heads remembers every key, the last of several modes more than the others.
    Values of near keys are opposite to far ones.
    """
    given, changed = leaves(problem), {}
    for name, x in given.items():
        if name.endswith("process"):
            ratio = (log(influence) / NEAR) ** 2  # σ²/η² = K², with a loss of K a key
            changed[name] = 0.0 * x + ratio * given[name.replace("process", "measurement")]
            if isinstance(problem.sde, DiagonalSDE) and np.ndim(x):
                changed[name][..., -1] *= 0.25
            if np.ndim(x) and np.shape(x)[0] == 2:
                changed[name][-1] *= 1e-9
    value = np.ones_like(problem.value)
    value[..., -NEAR:, :] = -1.0
    return with_leaves(replace(problem, value=value), changed)


@pytest.mark.asserts
@pytest.mark.many_shapes
@pytest.mark.fewer_examples(2)
@drawn(
    description=CACHES,
    tolerance=st.sampled_from([None, 1e-3, 0.1]),
    influence=st.sampled_from([5.0, 0.2]),
)
def test_within_tolerance(
    subject: Subject, description: Description, tolerance: float | None, influence: float
) -> None:
    """Spec §14: τ changes a step by at most 2τ max‖v‖, by default within rounding.

    For each mode of the diagonal form, and √2 times that in the radial–tangential form. It leaves
    out at most τ of a precision.
    """
    problem = at_own_times(sample_problem(description))
    share = 0.0 if tolerance is None else tolerance
    problem = remembering(problem, influence * (share or 1e-6))
    first, sizes = TOKENS - STEPS, [1, STEPS - 1]
    exact, bounded = (
        decode(replace(problem, tolerance=each), subject, sizes, first=first)
        for each in (0.0, tolerance)
    )
    for found, expected in zip(*map(parts, (bounded[1], exact[1])), strict=True):
        assert np.all(abs(found - expected) <= (share + ROUNDING[problem.dtype]) * expected)
    changed, value = bounded[0] - exact[0], problem.value
    if description.form == "diagonal":
        error, largest = np.abs(changed), np.max(np.abs(value), axis=-2, keepdims=True)
    else:
        error = np.linalg.norm(changed, axis=-1)
        largest = np.max(np.linalg.norm(value, axis=-1), axis=-1, keepdims=True)
    factor = 2.0 * (2.0**0.5 if description.form == "radial_tangential" else 1.0)
    assert np.all(error <= (factor * share + ROUNDING[problem.dtype]) * largest)
