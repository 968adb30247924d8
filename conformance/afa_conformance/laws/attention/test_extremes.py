"""Estimates stay averages at logits of any size (spec §4, §9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.functionals import Functional, differentiable, gradients
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import (
    completed,
    condition,
    leaves,
    visibility,
    with_huge_token,
    with_leaves,
)
from afa_conformance.runner import applied_weights, key_axis, parts, run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import Gaussian, RadialTangentialSDE, StudentT

SMALL = descriptions(
    queries=4, keys=4, leading=(), masked=False, decay="ordinary", noise="ordinary",
    temperature="one", dtype="float64",
)  # fmt: skip


@pytest.mark.parametrize(("weighting", "distance"), [(Gaussian(), 100.0), (StudentT(8.0), 1e25)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(description=SMALL)
def test_queries_far_from_every_key(
    subject: Subject, form: str, weighting: Any, distance: float, description: Description
) -> None:
    """Equation (3.1) where every unnormalised weight of a row underflows, with L of −10³ and less.

    Rows of weights sum to 1 to 8 ε; the estimate is right to 8 ε times the condition of the
    problem, which is about as large as the logits.
    """
    problem = replace(sample_problem(description.having(form=form)), weighting=weighting)
    problem = replace(problem, query=distance * problem.query)
    for weights in parts(applied_weights(problem, subject)):
        rows = np.sum(weights, axis=key_axis(problem))
        subject.assert_close(rows, np.ones_like(rows), 8 * problem.eps)
    exact = double_sum(problem).mean
    subject.assert_close(
        run_attention(problem, subject), exact, 8 * problem.eps * condition(problem)
    )


@pytest.mark.parametrize("unit", [1e-60, 1e60])
@pytest.mark.fewer_examples(2)
@drawn(description=SMALL)
def test_tiny_and_huge_values(subject: Subject, unit: float, description: Description) -> None:
    """Spec §13: q, k, v by c and variances by c² give x̂ by c, at c = 1e-60 and 1e60.

    To 16 ε times the condition of the problem plus |log c²|. A floor or an overflow of Σ breaks it.
    """
    problem = sample_problem(description)
    if isinstance(problem.sde, RadialTangentialSDE) and problem.anchor is None:
        problem = replace(problem, anchor=problem.value)
    scaled = {name: x * unit**2 for name, x in leaves(problem).items() if "noise" in name}
    scaled |= {name: unit * getattr(problem, name) for name in ("query", "key", "value")}
    got = run_attention(with_leaves(problem, scaled), subject)
    shift_of_logits = abs(2.0 * np.log(unit))
    tolerance = 16 * problem.eps * (condition(problem) + shift_of_logits)
    subject.assert_close(got / unit, run_attention(problem, subject), tolerance)


@pytest.mark.asserts
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        correlated=[False, True], form=None, queries=4, keys=4, masked=False, leading=(),
        decay="ordinary", noise="ordinary", temperature="one", sharing="each",
        weighting=["student", "gaussian", "rational"],
    )
)  # fmt: skip
def test_one_huge_token(subject: Subject, form: str, description: Description) -> None:
    """Spec §3: a token whose square overflows has weight zero in all rows but its own.

    They are the estimates without it, to 8 ε times the condition of the problem, if keys are not
    correlated. Its own key, equal to its query, is the only one near: that row is its value, to
    64 ε. All rows are finite.
    """
    # both parts of a mode are so large, and its modulus has to be representable
    limits = {"float64": (1e160, 1e308), "float32": (1e20, 2e38), "bfloat16": (1e20, 2e38)}
    if description.dtype not in limits:
        pytest.skip(f"{description.dtype} has no number whose square overflows")
    problem = completed(sample_problem(description.having(form=form)))
    problem = replace(problem, query_times=problem.key_times)
    place = description.seed % 4
    token = np.arange(4) == place
    for huge in limits[description.dtype]:
        changed = with_huge_token(problem, token, huge)
        with np.errstate(over="ignore", invalid="ignore"):
            found = run_attention(changed, subject)
        assert np.all(np.isfinite(found))
        if problem.correlated:
            continue
        expected = run_attention(replace(problem, mask=~token[None, :]), subject)
        attending = np.any(visibility(problem) & ~token, axis=-1)  # to a key that has a weight
        rows = attending & ~token
        tolerance = 8 * problem.eps * condition(problem)
        subject.assert_close(found[rows], expected[rows], tolerance)
        own = np.asarray(problem.value)[place]
        scale = float(np.max(np.abs(problem.value)))
        subject.assert_close(found[place], own, 64 * problem.eps, scale=scale)


@pytest.mark.asserts
@pytest.mark.parametrize("rows", ["all", "last"])
@pytest.mark.parametrize("name", ["query", "key"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        correlated=[False, True], form=None, queries=4, keys=4, causal=None, masked=False,
        leading=(), decay="ordinary", noise="ordinary", temperature="one", sharing="each",
        weighting="student", dof=4.0, dtype=["float64", "float32", "bfloat16"],
    )
)  # fmt: skip
def test_one_huge_query_or_key(
    subject: Subject, form: str, name: str, rows: str, description: Description
) -> None:
    """Spec §3: a key whose square overflows, unlike its query, has weight zero in every row.

    All rows are the estimates without it, to 8 ε times the condition of the problem, if keys are
    not correlated, whether all attend to it or the last alone; weights may be integer powers. So
    are the other rows beside such a query, whose own row is finite.
    """
    description = description.having(form=form, causal=rows == "last")
    problem = completed(sample_problem(description))
    token = np.arange(4) == (3 if rows == "last" else description.seed % 4)
    for huge in (1e160, 1e308) if description.dtype == "float64" else (1e20, 2e38):
        with np.errstate(over="ignore", invalid="ignore"):
            found = run_attention(with_huge_token(problem, token, huge, [name]), subject)
        assert np.all(np.isfinite(found))
        if problem.correlated and name == "key":
            continue
        of_key = token & (name == "key")
        expected = run_attention(replace(problem, mask=~of_key[None, :]), subject)
        compared = ~token | of_key
        tolerance = 8 * problem.eps * condition(problem)
        subject.assert_close(found[compared], expected[compared], tolerance)


@pytest.mark.asserts
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        correlated=[False, True], form=None, queries=4, keys=4, masked=False, leading=(),
        decay="ordinary", noise="ordinary", size="ordinary", sharing="each", rotation="own",
        temperature="array", layout="interleaved", times=["regular", "irregular"],
        weighting=["student", "gaussian", "rational"], dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_gradients_beside_one_huge_token(
    subject: Subject, form: str, description: Description
) -> None:
    """Spec §3, §13: the derivatives of all rows are finite beside a token whose square overflows.

    Those of the mean of other rows are the ones without it, to 4096 ε times the condition of the
    problem, if keys are not correlated.
    """
    problem = differentiable(description.having(form=form))
    token = np.arange(4) == 1 + description.seed % 3
    functional = Functional.draw(problem, np.random.default_rng(description.seed))
    others = Functional(
        np.where(token[:, None], 0.0, functional.mean), np.zeros_like(functional.precision)
    )
    without = replace(problem, mask=np.broadcast_to(~token[None, :], (4, 4)).copy())
    for huge in (1e160, 1e308) if description.dtype == "float64" else (1e20, 2e38):
        changed = with_huge_token(problem, token, huge)
        for name, gradient in gradients(changed, functional, subject).items():
            assert np.all(np.isfinite(gradient)), f"gradient of {name}"
        if problem.correlated:
            continue
        expected = gradients(without, others, subject)
        tolerance = 4096 * problem.eps * condition(problem)
        least = 1e-2 * max(float(np.max(np.abs(each))) for each in expected.values())
        for name, gradient in gradients(changed, others, subject).items():
            scale = max(float(np.max(np.abs(expected[name]))), least)
            subject.assert_close(gradient, expected[name], tolerance, scale=scale)
