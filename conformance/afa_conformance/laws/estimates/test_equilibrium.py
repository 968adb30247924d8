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
from afa_conformance.laws.estimates.rates import layout_of, rates, turning_values
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import DrawnProblem, completed, condition, visibility
from afa_conformance.runner import call, fetch, parameter_dtype, read, read_modes, send, write_modes
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

pytestmark = pytest.mark.needs("library")

TURNING = ["shared", "own"]
"""Values that do not turn may have λ = 0, or so small a λ that they never come to rest."""
ORDERED = descriptions(
    form=["isotropic", "diagonal"], queries=4, keys=4, causal=True,
    times=["default", "regular", "irregular", "tied"], leading=[(), (2,)],
    rotation=TURNING,
)  # fmt: skip


def draw_input(problem: DrawnProblem, of: str) -> NDArray[Any]:
    """Return u, (..., d), with the leading axes of the parameters."""
    seed = 0 if problem.description is None else problem.description.seed
    rng = np.random.default_rng([seed, len(of)])
    return complex_normal(rng, rates(problem, of).shape)


def equilibrium(problem: DrawnProblem, of: str, subject: Subject) -> Any:
    """Return b of keys or of values, an array of the subject, (..., c)."""
    moving = problem if of == "key" else turning_values(problem)
    u = write_modes(draw_input(problem, of), problem.layout, parameter_dtype(problem))
    sde = send(moving, subject).sde
    return afa_core.equilibrium(sde, subject.from_numpy(u), **layout_of(problem))


def affine(rate: NDArray[Any], u: NDArray[Any], lag: NDArray[Any]) -> NDArray[Any]:
    """Return where dx = (λx + u) dt comes from zero: u(e^{λh} − 1)/λ, (..., n, d)."""
    rate, lag = rate[..., None, :], np.asarray(lag, dtype=float)[..., None]
    return np.asarray(np.expm1(rate * lag) / rate * u[..., None, :])


def attend_about(
    problem: DrawnProblem, subject: Subject, size: float = 0.0
) -> tuple[NDArray[Any], float]:
    """Subtract b, attend, add b; complex modes in NumPy, and the size of what was added."""
    sent = send(problem, subject)
    rest, value_rest = (equilibrium(problem, of, subject) for of in ("key", "value"))
    rest, value_rest = rest[..., None, :], value_rest[..., None, :]
    shifted = replace(
        sent, query=sent.query - rest, key=sent.key - rest, value=sent.value - value_rest
    )
    got = call(subject.attention, shifted, subject) + value_rest
    largest = np.max(np.abs(read(value_rest, problem, subject)))
    return read(got, problem, subject), float(largest) + size


def about(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem whose tokens are taken from the equilibrium, to judge its condition."""
    rest = (-draw_input(problem, of) / rates(problem, of) for of in ("key", "value"))
    rest, value_rest = (each[..., None, :] for each in rest)
    return replace(
        problem,
        query=problem.query - rest,
        key=problem.key - rest,
        value=problem.value - value_rest,
    )


@drawn(description=descriptions(rotation=TURNING, dtype=["float64", "float32"]))
def test_equilibrium_solves_its_equation(subject: Subject, description: Description) -> None:
    """Spec §10: b = −u/λ, the solution of λb + u = 0, in the kind, layout and dtype of u.

    Each entry to 16 ε of |u/λ|.
    """
    problem = sample_problem(description)
    for of in ("key", "value"):
        found = equilibrium(problem, of, subject)
        b = read_modes(fetch(found, subject), problem.layout)
        rate, u = rates(problem, of), draw_input(problem, of)
        assert b.real.dtype == parameter_dtype(problem)
        assert b.shape == u.shape
        error = np.abs(b + u / rate)
        assert np.all(error <= 16 * problem.eps * np.abs(u / rate))


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
    rest = read_modes(fetch(equilibrium(problem, "key", subject), subject), problem.layout)
    rate, u = rates(problem, "key"), draw_input(problem, "key")
    for index in np.ndindex(*rate.shape[:-1]):
        d = rate.shape[-1]
        generator = np.zeros((d + 1, d + 1), dtype=complex)
        generator[:d, :d], generator[:d, d] = np.diag(rate[index]), u[index]
        later = expm(1.5 * generator) @ np.append(rest[index], 1.0)
        subject.assert_close(later[:d], rest[index], 64 * problem.eps)


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
    seen = np.any(visibility(problem), axis=-1)[..., None]
    expected = np.where(seen, expected, -(v / value_rate)[..., None, :])  # zero, and b
    tolerance = 16 * problem.eps * (condition(about(problem)) + condition(from_path))
    subject.assert_close(got, expected, tolerance, scale=size)


@pytest.mark.needs("float64")
@drawn(
    description=descriptions(
        causal=True, masked=False, decay=["ordinary", "zero", "slow"], queries=4, keys=4,
        times=["default", "regular", "tied"], rotation=TURNING,
    )
)  # fmt: skip
def test_noiseless_trajectory(subject: Subject, description: Description) -> None:
    """Spec §7.5, §10: tokens that follow dx = (λx + u) dt are their own estimates about b.

    To 16 ε times the condition of the problem, in every form.
    """
    problem = completed(sample_problem(description))
    elapsed = problem.key_times - np.min(problem.key_times, axis=-1, keepdims=True)
    paths = {}
    for of, modes in (("key", problem.modes), ("value", problem.value_modes)):
        rate, u = rates(problem, of), draw_input(problem, of)
        first = complex_normal(np.random.default_rng([description.seed, 7]), (modes,))
        decayed = np.exp(rate[..., None, :] * np.asarray(elapsed, dtype=float)[..., None])
        paths[of] = decayed * first + affine(rate, u, elapsed)
    followed = replace(problem, query=paths["key"], key=paths["key"], value=paths["value"])
    if problem.anchor is not None:
        followed = replace(followed, anchor=paths["value"])
    got, size = attend_about(followed, subject, float(np.max(np.abs(paths["value"]))))
    tolerance = 16 * problem.eps * condition(about(followed))
    subject.assert_close(got, np.broadcast_to(paths["value"], got.shape), tolerance, scale=size)
