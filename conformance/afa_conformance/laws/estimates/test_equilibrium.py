"""A constant input moves the fixed point of the flow from zero to b = −u/λ (spec §10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm

import afa_core
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.estimates.rates import layout_of, rates, with_value_dynamics
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import DrawnProblem, completed, condition, visibility
from afa_conformance.runner import call, fetch, parameter_dtype, read, read_modes, send, write_modes
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

pytestmark = pytest.mark.needs("library")

ROTATING = ["shared", "own"]
"""Values that do not rotate may have λ = 0, or so small a λ that b is out of range."""
ORDERED = descriptions(
    form=["isotropic", "diagonal"], queries=4, keys=4, causal=True,
    times=["default", "regular", "irregular", "tied"], leading=[(), (2,)],
    rotation=ROTATING,
)  # fmt: skip


def draw_input(problem: DrawnProblem, tokens: str) -> NDArray[Any]:
    """Return u, (..., d), with the leading axes of the parameters."""
    seed = 0 if problem.description is None else problem.description.seed
    rng = np.random.default_rng([seed, len(tokens)])
    return complex_normal(rng, rates(problem, tokens).shape)


def equilibrium(problem: DrawnProblem, tokens: str, subject: Subject) -> Any:
    """Return b of keys or of values, an array of the subject, (..., c)."""
    dynamics = problem if tokens == "key" else with_value_dynamics(problem)
    u = write_modes(draw_input(problem, tokens), problem.layout, parameter_dtype(problem))
    sde = send(dynamics, subject).sde
    return afa_core.equilibrium(sde, subject.from_numpy(u), **layout_of(problem))


def affine(rate: NDArray[Any], u: NDArray[Any], lag: NDArray[Any]) -> NDArray[Any]:
    """Return the solution of dx = (λx + u) dt from zero: u(e^{λh} − 1)/λ, (..., n, d)."""
    rate, lag = rate[..., None, :], np.asarray(lag, dtype=float)[..., None]
    return np.asarray(np.expm1(rate * lag) / rate * u[..., None, :])


def attend_about(
    problem: DrawnProblem, subject: Subject, size: float = 0.0
) -> tuple[NDArray[Any], float]:
    """Return attention to tokens less b, plus b, in NumPy, and the largest |b| plus a size."""
    sent = send(problem, subject)
    b, value_b = (equilibrium(problem, tokens, subject) for tokens in ("key", "value"))
    b, value_b = b[..., None, :], value_b[..., None, :]
    shifted = replace(sent, query=sent.query - b, key=sent.key - b, value=sent.value - value_b)
    got = call(subject.attention, shifted, subject) + value_b
    largest = np.max(np.abs(read(value_b, problem, subject)))
    return read(got, problem, subject), float(largest) + size


def about(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem with tokens less b, whose condition it has."""
    b = (-draw_input(problem, tokens) / rates(problem, tokens) for tokens in ("key", "value"))
    b, value_b = (each[..., None, :] for each in b)
    return replace(
        problem,
        query=problem.query - b,
        key=problem.key - b,
        value=problem.value - value_b,
    )


@pytest.mark.asserts
@drawn(description=descriptions(rotation=ROTATING, dtype=["float64", "float32"]))
def test_equilibrium_solves_its_equation(subject: Subject, description: Description) -> None:
    """Spec §10: b = −u/λ, the solution of λb + u = 0, in the kind, layout and dtype of u.

    Each entry to 16 ε of |u/λ|.
    """
    problem = sample_problem(description)
    for tokens in ("key", "value"):
        found = equilibrium(problem, tokens, subject)
        b = read_modes(fetch(found, subject), problem.layout)
        rate, u = rates(problem, tokens), draw_input(problem, tokens)
        assert b.real.dtype == parameter_dtype(problem)
        assert b.shape == u.shape
        error = np.abs(b + u / rate)
        assert np.all(error <= 16 * problem.eps * np.abs(u / rate))


@pytest.mark.asserts
@drawn(
    description=descriptions(
        form=["isotropic", "radial_tangential"], decay="zero", rotation="off",
        dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_no_equilibrium_without_decay_or_rotation(
    subject: Subject, description: Description
) -> None:
    """Spec §10: a mode with λ = 0 has no b; the result is not finite."""
    problem = sample_problem(description)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = equilibrium(problem, "value", subject)
    assert not np.any(np.isfinite(fetch(found, subject)))


@pytest.mark.needs("float64")
@drawn(description=descriptions(decay="ordinary"))
def test_equilibrium_is_a_fixed_point(subject: Subject, description: Description) -> None:
    """Spec §10: the matrix exponential of dx = (λx + u) dt leaves b in place, to 64 ε."""
    problem = sample_problem(description)
    b = read_modes(fetch(equilibrium(problem, "key", subject), subject), problem.layout)
    rate, u = rates(problem, "key"), draw_input(problem, "key")
    for index in np.ndindex(*rate.shape[:-1]):
        d = rate.shape[-1]
        generator = np.zeros((d + 1, d + 1), dtype=complex)
        generator[:d, :d], generator[:d, d] = np.diag(rate[index]), u[index]
        later = expm(1.5 * generator) @ np.append(b[index], 1.0)
        subject.assert_close(later[:d], b[index], 64 * problem.eps)


@pytest.mark.needs("float64")
@pytest.mark.fewer_examples(2)
@drawn(description=ORDERED)
def test_constant_input_between_tokens(subject: Subject, description: Description) -> None:
    """Spec §10: attention to tokens less b, plus b, is (3.1) with predictions that the input moves.

    The oracle subtracts the path from zero, u(e^{λh} − 1)/λ, and does not use b. To 16 ε times the
    condition of both problems.
    """
    problem = completed(sample_problem(description))
    start = np.min(problem.key_times, axis=-1, keepdims=True)
    after, before = (x - start for x in (problem.query_times, problem.key_times))
    rate, u = rates(problem, "key"), draw_input(problem, "key")
    value_rate, v = rates(problem, "value"), draw_input(problem, "value")
    from_path = replace(
        problem,
        query=problem.query - affine(rate, u, after),
        key=problem.key - affine(rate, u, before),
        value=problem.value - affine(value_rate, v, before),
    )
    expected = double_sum(from_path).mean + affine(value_rate, v, after)
    got, size = attend_about(problem, subject, float(np.max(np.abs(expected))))
    visible = np.any(visibility(problem), axis=-1)[..., None]
    expected = np.where(visible, expected, -(v / value_rate)[..., None, :])  # zero, and b
    tolerance = 16 * problem.eps * (condition(about(problem)) + condition(from_path))
    subject.assert_close(got, expected, tolerance, scale=size)


@pytest.mark.needs("float64")
@drawn(
    description=descriptions(
        causal=True, masked=False, decay=["ordinary", "zero", "slow"], queries=4, keys=4,
        times=["default", "regular", "tied"], rotation=ROTATING,
    )
)  # fmt: skip
def test_noiseless_trajectory(subject: Subject, description: Description) -> None:
    """Spec §7.5, §10: tokens that follow dx = (λx + u) dt are their own estimates about b.

    To 16 ε times the condition of the problem, in every form.
    """
    problem = completed(sample_problem(description))
    elapsed = problem.key_times - np.min(problem.key_times, axis=-1, keepdims=True)
    paths = {}
    for tokens, modes in (("key", problem.modes), ("value", problem.value_modes)):
        rate, u = rates(problem, tokens), draw_input(problem, tokens)
        first = complex_normal(np.random.default_rng([description.seed, 7]), (modes,))
        decayed = np.exp(rate[..., None, :] * np.asarray(elapsed, dtype=float)[..., None])
        paths[tokens] = decayed * first + affine(rate, u, elapsed)
    followed = replace(problem, query=paths["key"], key=paths["key"], value=paths["value"])
    if problem.anchor is not None:
        followed = replace(followed, anchor=paths["value"])
    got, size = attend_about(followed, subject, float(np.max(np.abs(paths["value"]))))
    tolerance = 16 * problem.eps * condition(about(followed))
    subject.assert_close(got, np.broadcast_to(paths["value"], got.shape), tolerance, scale=size)
