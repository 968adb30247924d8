"""Derivatives of estimate and precision are right in every argument (spec §13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example
from mpmath import mp
from numpy.typing import NDArray

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.functionals import Functional, differentiable, gradients
from afa_conformance.oracles.covariances import DIGITS
from afa_conformance.oracles.double_sum import number
from afa_conformance.problems import (
    TOKENS,
    DrawnProblem,
    completed,
    condition,
    in_arrays,
    leaves,
    with_leaves,
)
from afa_conformance.runner import read_modes
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import Gaussian

ROUNDINGS = 4096

SMOOTH = descriptions(
    leading=(), sharing="each", causal=True, queries=4, keys=4, layout="interleaved",
    times=["regular", "irregular"], temperature="array", noise="ordinary", decay="ordinary",
    rotation="own", anchored=True, dtype=["float64", "float32"],
    correlated=[False, True], query_variance=[False, True],
)  # fmt: skip


def exact_slope(
    problem: DrawnProblem,
    functional: Functional,
    name: str,
    direction: NDArray[Any],
    *,
    precision: bool,
) -> float:
    """Return the derivative along a direction of one argument, by a 50-digit difference."""
    with mp.workdps(DIGITS):
        step = mp.mpf("1e-20")
        value = np.asarray(leaves(problem)[name]).astype(object)
        exact = np.vectorize(mp.mpc if name in TOKENS else number, otypes=[object])
        shift = step * exact(direction)
        values = [
            functional.exact(
                with_leaves(problem, {name: exact(value) + sign * shift}), precision=precision
            )
            for sign in (1, -1)
        ]
        return float((values[0] - values[1]) / (2 * step))


def assert_gradients(description: Description, problem: DrawnProblem, subject: Subject) -> None:
    rng = np.random.default_rng(description.seed)
    functional = Functional.draw(problem, rng)
    found = gradients(problem, functional, subject)
    precision = subject.estimate is not None
    # some vanish by cancelling, such as those of an anchor of one mode
    least = 1e-2 * max(float(np.max(np.abs(gradient))) for gradient in found.values())
    checked = [*found]
    if subject.batch:  # enough problems for one argument each
        checked = [checked[description.seed % len(checked)]]
    for name, gradient in found.items():
        assert np.all(np.isfinite(gradient)), f"gradient of {name}"
        if name not in checked:
            continue
        direction = rng.normal(size=gradient.shape)
        in_modes = read_modes(direction, "interleaved") if name in TOKENS else direction
        expected = exact_slope(problem, functional, name, in_modes, precision=precision)
        scale = float(np.sum(np.abs(gradient * direction))) + least
        got = float(np.sum(gradient * direction))
        tolerance = ROUNDINGS * problem.eps * condition(problem)
        try:
            subject.assert_close(got, expected, tolerance, scale=scale)
        except AssertionError as error:
            error.add_note(f"gradient of {name}")
            raise


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("decay", ["ordinary", "zero"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(description=SMOOTH)
@example(
    description=Description(
        value_modes=1, times="regular", masked=True, anchored=True, weighting="uniform",
        temperature="array", rotation="own", layout="interleaved", seed=1629,
    )
)  # fmt: skip
def test_gradients(subject: Subject, form: str, decay: str, description: Description) -> None:
    """Spec §13: derivatives by tokens, times and every parameter equal 50-digit differences.

    To 4096 ε times the condition of the problem. At μ = 0 the difference spans negative decays,
    where the closed forms are smooth (spec §2).
    """
    description = description.having(form=form, decay=decay)
    assert_gradients(description, differentiable(description), subject)


@pytest.mark.asserts
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(description=SMOOTH)
def test_gradients_of_distant_queries(
    subject: Subject, form: str, description: Description
) -> None:
    """Spec §4: derivatives are finite at logits of −1000, beside hidden keys too.

    Exponentiating hidden pairs against the maximum of such a row would overflow.
    """
    problem = differentiable(description.having(form=form, masked=True))
    problem = replace(problem, query=40.0 * problem.query, weighting=Gaussian())
    functional = Functional.draw(problem, np.random.default_rng(description.seed))
    for name, gradient in gradients(problem, functional, subject).items():
        assert np.all(np.isfinite(gradient)), f"gradient of {name}"


@pytest.mark.asserts
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(description=SMOOTH)
def test_gradients_at_kinks(subject: Subject, form: str, description: Description) -> None:
    """Spec §4, §8: derivatives are finite at zero lags, zero residuals, zero and tiny tokens."""
    problem = in_arrays(completed(sample_problem(description.having(form=form))))
    functional = Functional.draw(problem, np.random.default_rng(description.seed))
    zero_residual = replace(problem, query=problem.key, query_times=problem.key_times)
    zero_query = replace(problem, query=0.0 * problem.query)
    tiny = 1e-160 if problem.dtype == "float64" else 1e-20
    tokens = {name: x for name, x in leaves(problem).items() if name in ("query", "key", "anchor")}
    tiny_tokens = with_leaves(problem, {name: tiny * x for name, x in tokens.items()})
    for each in (zero_residual, zero_query, tiny_tokens):
        for name, gradient in gradients(each, functional, subject).items():
            assert np.all(np.isfinite(gradient)), f"gradient of {name}"
