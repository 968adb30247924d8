"""Derivatives of the estimate and of its precision are right in every argument (spec §13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from mpmath import mp
from numpy.typing import NDArray

from afa_conformance.descriptions import FORMS, Description, descriptions, fewer
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles.covariances import DIGITS
from afa_conformance.oracles.double_sum import number, single
from afa_conformance.problems import TOKENS, Problem, completed, condition, leaves, with_leaves
from afa_conformance.realising import realise
from afa_conformance.sending import (
    parameter_dtype,
    parts,
    read_modes,
    run,
    send,
    write_modes,
)
from afa_conformance.subject import Subject
from afa_core import Gaussian

ROUNDINGS = 4096

SMOOTH = descriptions(
    leading=(), sharing="each", causal=True, queries=4, keys=4, layout="interleaved",
    times=["regular", "irregular"], temperature="array", noise="ordinary", decay="ordinary",
    rotation="own", anchored=True, dtype=["float64", "float32"],
)  # fmt: skip


def differentiable(description: Description) -> Problem:
    """Return a problem without kinks: no lag is zero, and every number is an array."""
    problem = completed(realise(description))
    late = replace(problem, query_times=problem.query_times + 0.3)
    floats = {name: np.asarray(x) for name, x in leaves(late).items() if isinstance(x, float)}
    return with_leaves(late, floats)


class Functional:
    """A random linear function of the estimate and, if there is one, of its precision."""

    def __init__(self, problem: Problem, seed: int, subject: Subject) -> None:
        self.estimated = subject.estimate is not None
        self.rng = np.random.default_rng(seed)
        n = problem.query.shape[-2]
        self.mean = complex_normal(self.rng, (n, problem.value_modes))
        sides = {"diagonal": (problem.modes,), "radial_tangential": (2,)}
        assert problem.description is not None
        shape = sides.get(problem.description.form, (1,))
        self.precision = self.rng.normal(size=(n, *shape))

    def exact(self, problem: Problem) -> Any:
        """Return its value in 50 digits."""
        result = single(problem)
        mean = sum(
            mp.re(mp.conj(mp.mpc(c)) * x)
            for c, x in zip(self.mean.ravel(), result.mean.ravel(), strict=True)
        )
        if not self.estimated:
            return mean
        precision = _stack(result.precision)
        weights = zip(self.precision.ravel(), precision.ravel(), strict=True)
        return mean + sum(mp.mpf(c) * x for c, x in weights)

    def of(self, sent: Problem, subject: Subject) -> Any:
        """Return its value on the subject."""
        mean: Any
        if subject.estimate is None:
            mean, precision = run(subject.attention, sent, subject), None
        else:
            mean, precision = run(subject.estimate, sent, subject)
        dtype = np.dtype(parameter_dtype(sent))
        cotangent = subject.from_numpy(write_modes(self.mean, "interleaved", dtype))
        total = (mean * cotangent).sum()
        for side, each in enumerate(parts(precision)):
            own = self.precision if each.ndim == 2 else self.precision[:, side]
            total = total + (each * subject.from_numpy(own.astype(dtype))).sum()
        return total


def _stack(precision: Any) -> NDArray[Any]:
    sides = parts(precision)
    return sides[0] if sides[0].ndim == 2 else np.stack(sides, axis=-1)


def gradients(
    problem: Problem, functional: Functional, subject: Subject
) -> dict[str, NDArray[Any]]:
    """Return the derivatives of a functional in all numerical arguments but the mask."""
    if subject.grad is None:
        pytest.skip(f"{subject.name} does not differentiate")
    arrays = {name: x for name, x in leaves(send(problem, subject)).items() if name != "mask"}
    sent = send(problem, subject)

    def value(*changed: Any) -> Any:
        return functional.of(with_leaves(sent, dict(zip(arrays, changed, strict=True))), subject)

    found = subject.grad(value, *arrays.values())
    return {name: np.asarray(subject.to_numpy(x)) for name, x in zip(arrays, found, strict=True)}


def exact_slope(
    problem: Problem, functional: Functional, name: str, direction: NDArray[Any]
) -> float:
    """Return the derivative along a direction of one argument, by a 50-digit difference."""
    with mp.workdps(DIGITS):
        step = mp.mpf("1e-20")
        own = np.asarray(leaves(problem)[name]).astype(object)
        turn = np.vectorize(mp.mpc if name in TOKENS else number, otypes=[object])
        along = step * turn(direction)
        ends = [
            functional.exact(with_leaves(problem, {name: turn(own) + sign * along}))
            for sign in (1, -1)
        ]
        return float((ends[0] - ends[1]) / (2 * step))


def assert_gradients(description: Description, problem: Problem, subject: Subject) -> None:
    functional = Functional(problem, description.seed, subject)
    found = gradients(problem, functional, subject)
    rng = functional.rng
    # some vanish by cancelling, such as those of an anchor of one mode
    least = 1e-2 * max(float(np.max(np.abs(gradient))) for gradient in found.values())
    for name, gradient in found.items():
        assert np.all(np.isfinite(gradient)), f"gradient of {name}"
        direction = rng.normal(size=gradient.shape)
        in_modes = read_modes(direction, "interleaved") if name in TOKENS else direction
        expected = exact_slope(problem, functional, name, in_modes)
        scale = float(np.sum(np.abs(gradient * direction))) + least
        got = float(np.sum(gradient * direction))
        tolerance = ROUNDINGS * problem.eps * condition(problem)
        assert abs(got - expected) <= tolerance * scale, f"{name}: {got!r}, expected {expected!r}"


@pytest.mark.parametrize("decay", ["ordinary", "zero"])
@pytest.mark.parametrize("form", FORMS)
@fewer(3)
@given(description=SMOOTH)
@example(
    description=Description(
        value_modes=1, times="regular", masked=True, anchored=True, weighting="uniform",
        temperature="array", rotation="own", layout="interleaved", seed=1629,
    )
)  # fmt: skip
def test_gradients(subject: Subject, form: str, decay: str, description: Description) -> None:
    """Spec §13: in tokens, times and every parameter, against 50-digit differences; at μ = 0 too.

    At μ = 0 the difference spans negative decays: the closed forms are smooth there (spec §2).
    """
    description = description.having(form=form, decay=decay)
    assert_gradients(description, differentiable(description), subject)


@pytest.mark.parametrize("form", FORMS)
@fewer(3)
@given(description=SMOOTH)
def test_gradients_of_distant_queries(
    subject: Subject, form: str, description: Description
) -> None:
    """Spec §4: logits of any depth have derivatives, beside hidden keys too.

    Hidden pairs must not be exponentiated against a row whose own logits lie at −1000.
    """
    problem = differentiable(description.having(form=form, masked=True))
    problem = replace(problem, query=40.0 * problem.query, weighting=Gaussian())
    functional = Functional(problem, description.seed, subject)
    for name, gradient in gradients(problem, functional, subject).items():
        assert np.all(np.isfinite(gradient)), f"gradient of {name}"


@pytest.mark.parametrize("form", FORMS)
@fewer(3)
@given(description=SMOOTH)
def test_gradients_at_kinks(subject: Subject, form: str, description: Description) -> None:
    """Spec §4, §8: zero lags, zero residuals and zero tokens have finite derivatives."""
    problem = completed(realise(description.having(form=form)))
    floats = {name: np.asarray(x) for name, x in leaves(problem).items() if isinstance(x, float)}
    problem = with_leaves(problem, floats)
    functional = Functional(problem, description.seed, subject)
    alike = replace(problem, query=problem.key, query_times=problem.key_times)
    nothing = replace(problem, query=0.0 * problem.query)
    for each in (alike, nothing):
        for name, gradient in gradients(each, functional, subject).items():
            assert np.all(np.isfinite(gradient)), f"gradient of {name}"
