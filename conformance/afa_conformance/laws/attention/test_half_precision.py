"""Half precision is for tokens; the computation is in single precision (spec §8.5)."""

from __future__ import annotations

import numpy as np
import pytest

from afa_conformance.closeness import SPACING
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import condition, in_dtype
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

EPS = float(np.finfo(np.float32).eps)
MIN_SUBNORMAL = {"float16": 2.0**-24, "bfloat16": 2.0**-133}


@pytest.mark.asserts
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.fewer_examples(2)
@drawn(description=descriptions(layout=["interleaved", "halves"], dtype=None))
def test_half_precision(subject: Subject, dtype: str, description: Description) -> None:
    """Spec §8.5: half-precision tokens give the single-precision result, rounded once at the end.

    The error is at most 0.75 spacings of the half dtype; the precision is bitwise equal, but for
    compilers, which may round two programs differently: then to 8 ε times the condition.
    """
    problem = sample_problem(description.having(dtype=dtype))
    got, precision = run_estimate(problem, subject)
    expected, single_precision = run_estimate(in_dtype(problem, "float32"), subject)
    error = np.abs(got - expected)
    assert np.all(error <= 0.75 * SPACING[dtype] * np.abs(expected) + MIN_SUBNORMAL[dtype])
    for own, other in zip(parts(precision), parts(single_precision), strict=True):
        if subject.compiled:
            subject.assert_close(own, other, 8 * EPS * condition(problem))
        else:
            np.testing.assert_array_equal(own, other)
