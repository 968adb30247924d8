"""The widest token sets the dtype computed in, the value that of the result (spec §8.1, §8.5)."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.limits import skip_unsupported
from afa_conformance.problems import DrawnProblem, condition, in_dtype, with_leaves
from afa_conformance.runner import fetch, library_results, parts, read, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core._array.arrays import namespace

TOKENS = ("query", "key", "value")
NARROW = [names for count in (1, 2) for names in combinations(TOKENS, count)]


def rounded_to_single(x: Any) -> Any:
    """Return the numbers of an array rounded to single precision, in double."""
    return x.astype(np.complex64).astype(np.complex128)


def narrowed(sent: DrawnProblem, names: tuple[str, ...]) -> DrawnProblem:
    """Return the sent problem with some of its tokens in single precision."""
    changes = {}
    for name in names:
        x = getattr(sent, name)
        xp: Any = namespace(x=x)
        kind = xp.complex64 if xp.isdtype(x.dtype, "complex floating") else xp.float32
        changes[name] = xp.astype(x, kind)
    return replace(sent, **changes)


@pytest.mark.parametrize("narrow", NARROW, ids="-".join)
@pytest.mark.fewer_examples(3)
@drawn(
    description=descriptions(
        correlated=[False, True], dtype=None, anchored=False, layout=["complex", "interleaved"]
    )
)
def test_double_among_the_tokens(
    subject: Subject, narrow: tuple[str, ...], description: Description
) -> None:
    """Spec §8.1, §8.5: one token array in double makes the computation double, rounded once.

    One or two of query, key and value are in single precision. The error is 8 ε times the condition
    of the problem, in double, and that of rounding each number to the dtype of `value`. The
    precision is never rounded.
    """
    if reason := subject.refusal({"dtype": "float32"}):
        skip_unsupported(reason)
    problem = in_dtype(sample_problem(description.having(dtype="float64")), "float64")
    problem = with_leaves(
        problem, {name: rounded_to_single(getattr(problem, name)) for name in narrow}
    )
    in_double = send(problem, subject)
    mixed = narrowed(in_double, narrow)
    exact, precision = library_results(in_double, subject)
    got, found_precision = library_results(mixed, subject)
    assert got.dtype == mixed.value.dtype
    expected, tolerance = read(exact, problem, subject), 8 * problem.eps * condition(problem)
    rounded = "float32" if "value" in narrow else None
    subject.assert_close(read(got, problem, subject), expected, tolerance, rounded=rounded)
    for own, other in zip(
        parts(fetch(found_precision, subject)), parts(fetch(precision, subject)), strict=True
    ):
        assert own.dtype == other.dtype
        subject.assert_close(own, other, tolerance)
