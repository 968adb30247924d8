"""Half precision is for tokens; the computation is in single precision (spec §8.5)."""

from __future__ import annotations

import pytest

from afa_conformance.comparisons import assert_per_form
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import condition, in_dtype
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.fewer_examples(2)
@drawn(description=descriptions(layout=["interleaved", "halves"], dtype=None))
def test_half_precision(subject: Subject, dtype: str, description: Description) -> None:
    """Spec §8.5: half-precision tokens give the single-precision result, rounded once at the end.

    Beside 8 ε of single precision times the condition, the error of each number is at most 0.75
    spacings of the half dtype; the precision is not rounded. An implementation that rounds what it
    multiplies has 8 ε of the half dtype.
    """
    problem = sample_problem(description.having(dtype=dtype))
    got, precision = run_estimate(problem, subject)
    expected, single_precision = run_estimate(in_dtype(problem, "float32"), subject)
    tolerance = 8 * subject.eps(dtype) * condition(problem)
    subject.assert_close(got, expected, tolerance, rounded=dtype)
    assert_per_form(precision, single_precision, tolerance, subject)
