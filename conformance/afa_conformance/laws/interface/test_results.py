"""Results have the library, layout, dtype and device of their arguments (spec §8.1, §8.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from afa_conformance.descriptions import DTYPES, HALVES, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.limits import skip_unsupported
from afa_conformance.problems import DrawnProblem
from afa_conformance.runner import library_results, parts, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE
from afa_core._array.arrays import device_of, namespace

pytestmark = pytest.mark.asserts


def sample_in_dtype(description: Description, dtype: str) -> DrawnProblem:
    """Return the problem in a dtype; in half precision as real pairs."""
    layout = description.layout
    if dtype in HALVES and layout == "complex":
        layout = "interleaved"
    return sample_problem(description.having(dtype=dtype, layout=layout))


def assert_like(x: Any, value: Any, shape: tuple[int, ...], dtype: Any) -> None:
    assert namespace(value=value, result=x) is namespace(value=value)
    assert tuple(x.shape) == shape
    assert x.dtype == dtype
    assert device_of(x) == device_of(value)


def assert_results(problem: DrawnProblem, sent: DrawnProblem, wide: bool, subject: Subject) -> None:
    """Assert library, shape, dtype and device of both results, computed in double or in single."""
    xp: Any = namespace(value=sent.value)
    leading, n = problem.leading, problem.query.shape[-2]
    mean, precision = library_results(sent, subject)
    assert_like(mean, sent.value, (*leading, n, sent.value.shape[-1]), sent.value.dtype)
    modes = (problem.modes,) if isinstance(problem.sde, DiagonalSDE) else ()
    for each in parts(precision):
        real = xp.float64 if wide else xp.float32
        assert_like(each, sent.value, (*leading, n, *modes), real)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.fewer_examples(4)
@drawn(description=descriptions(dtype=None))
def test_mean_is_like_value(subject: Subject, dtype: str, description: Description) -> None:
    """Spec §8.1: the mean has the library, kind, width, dtype and device of `value`.

    The precision is real and has the dtype of the computation: double for double, else single.
    """
    problem = sample_in_dtype(description, dtype)
    assert_results(problem, send(problem, subject), dtype == "float64", subject)


@pytest.mark.needs("float64")
@pytest.mark.fewer_examples(4)
@drawn(description=descriptions(layout=["interleaved", "halves"]))
def test_narrow_values(subject: Subject, description: Description) -> None:
    """Spec §8.1: where queries are wider than values, the mean still has the dtype of values."""
    if "float32" not in subject.supports.get("dtype", DTYPES):
        skip_unsupported("dtype 'float32'")
    problem = sample_problem(description)
    sent = send(problem, subject)
    xp: Any = namespace(value=sent.value)
    narrow = replace(sent, value=xp.astype(sent.value, xp.float32))
    assert_results(problem, narrow, True, subject)
