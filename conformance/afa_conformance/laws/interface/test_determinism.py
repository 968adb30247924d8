"""The same call gives the same bits (spec §8)."""

from __future__ import annotations

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@pytest.mark.asserts
@pytest.mark.fewer_examples(4)
@drawn(description=descriptions(queries=48, keys=48))
def test_same_call_same_bits(subject: Subject, description: Description) -> None:
    """Spec §8: attention is a function without state: results of equal calls are bitwise equal.

    Another problem of the same shapes is run in between.
    """
    problem = sample_problem(description)
    mean, precision = run_estimate(problem, subject)
    run_estimate(sample_problem(description.having(seed=description.seed + 1)), subject)
    other_mean, other_precision = run_estimate(problem, subject)
    for first, second in zip(
        (mean, *parts(precision)), (other_mean, *parts(other_precision)), strict=True
    ):
        np.testing.assert_array_equal(second, first, strict=True)
        assert second.tobytes() == first.tobytes(), "a zero of another sign"
