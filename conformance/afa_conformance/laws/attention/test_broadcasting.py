"""Batch, heads and groups of queries broadcast (spec §8.1, §8.2)."""

from __future__ import annotations

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import at_index, completed, condition, leaves, with_leaves
from afa_conformance.runner import applied_weights, parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE

# axes of one length, along which a misplaced parameter or time would broadcast silently
SQUARE = descriptions(
    leading=(3, 3), sharing=["each", "keys", "heads", "parameters"], queries=3, keys=3, modes=3,
    value_modes=3, noise="ordinary", temperature="array", correlated=[False, True],
)  # fmt: skip


@pytest.mark.many_shapes
@drawn(description=SQUARE)
def test_every_leading_index_is_independent(subject: Subject, description: Description) -> None:
    """Spec §8.1, §8.2: each leading index gives the result of its own slice.

    Estimate, precision and weights equal those of the slice's tokens, parameters and times, to 8 ε
    times the condition of the problem. With shared keys this is grouped-query attention.
    """
    problem = completed(sample_problem(description))
    tolerance = 8 * problem.eps * condition(problem)
    mean, precision = run_estimate(problem, subject)
    weights = applied_weights(problem, subject)
    assert mean.shape[:-2] == problem.leading
    indices = list(np.ndindex(*problem.leading))
    for index in (indices[0], indices[1], indices[-1]):
        single = at_index(problem, index)
        subject.assert_close(mean[index], run_estimate(single, subject)[0], tolerance)
        for batched, own in (
            (precision, run_estimate(single, subject)[1]),
            (weights, applied_weights(single, subject)),
        ):
            for got, expected in zip(parts(batched), parts(own), strict=True):
                full = np.broadcast_to(got, (*problem.leading, *expected.shape))
                subject.assert_close(full[index], expected, tolerance)


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(6)
@drawn(
    description=descriptions(
        leading=(2, 3), sharing="each", queries=4, keys=4, rotation=["own", "off"],
        temperature="array", correlated=[False, True],
    )
)  # fmt: skip
def test_leading_axes_of_one_argument(subject: Subject, description: Description) -> None:
    """Spec §8.1, §8.2, §10: leading axes of any one argument are those of all results.

    Estimate and precision of an index equal those of its slice, to 8 ε times the condition of the
    problem, also where the argument is one on which the precision does not depend.
    """
    problem = completed(sample_problem(description))
    first = (0,) * len(problem.leading)
    without_axes = at_index(problem, first)
    for name, x in leaves(problem).items():
        with_axes = with_leaves(without_axes, {name: x})
        mean, precision = run_estimate(with_axes, subject)
        core = (4, with_axes.modes) if isinstance(with_axes.sde, DiagonalSDE) else (4,)
        assert mean.shape == (*with_axes.leading, 4, with_axes.value_modes), name
        last = tuple(size - 1 for size in with_axes.leading)
        expected, expected_precision = run_estimate(at_index(with_axes, last), subject)
        tolerance = 8 * problem.eps * condition(with_axes)
        subject.assert_close(mean[last], expected, tolerance)
        for got, own in zip(parts(precision), parts(expected_precision), strict=True):
            assert got.shape == (*with_axes.leading, *core), name
            subject.assert_close(got[last], own, tolerance)
