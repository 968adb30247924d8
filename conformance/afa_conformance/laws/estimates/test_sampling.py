"""Samples have the variance of the estimate (spec §10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import afa_core
from afa_conformance.closeness import EPS
from afa_conformance.descriptions import LAYOUTS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.estimates.rates import layout_of
from afa_conformance.runner import call, fetch, read_modes, send, write_modes
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import Estimate, RadialTangential

pytestmark = pytest.mark.needs("library", "float64")

COUNT = 40_000
SPREAD = 6.0 / np.sqrt(COUNT)
"""Six standard errors of a mean of squares of complex normal numbers; the seeds are fixed."""
CENTER = np.asarray([1.0 + 2.0j, -3.0j])


def draw(
    subject: Subject, precision: Any, layout: str = "complex", seed: int = 0, **options: Any
) -> NDArray[Any]:
    """Return errors of many samples of two modes, (COUNT, 2), complex in NumPy."""
    mean = np.broadcast_to(CENTER, (COUNT, 2))

    def many(p: Any) -> Any:
        return subject.from_numpy(np.broadcast_to(p, (COUNT, *np.shape(p))).astype(float))

    directional = isinstance(precision, RadialTangential)
    sent_precision = RadialTangential(*map(many, precision)) if directional else many(precision)
    arrays = {k: subject.from_numpy(x) for k, x in options.items() if isinstance(x, np.ndarray)}
    sent = subject.from_numpy(write_modes(mean, layout))
    if layout != "complex":
        options["layout"] = layout
    found = afa_core.sample(
        Estimate(sent, sent_precision), rng=np.random.default_rng(seed), **(options | arrays)
    )
    assert found.dtype == sent.dtype
    return np.asarray(read_modes(fetch(found, subject), layout) - mean)


def constant_anchor(direction: NDArray[Any]) -> NDArray[Any]:
    """Return an anchor for every sample."""
    return np.array(np.broadcast_to(direction, (COUNT, 2)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("noise", [0.0, 0.75])
def test_half_the_variance_on_each_part(subject: Subject, layout: str, noise: float) -> None:
    """Spec §10: variance 1/p of a state, 1/p + γ² of a token, half of it on each part.

    Real and imaginary parts and modes are uncorrelated and centred on the estimate. Within 6
    standard errors (12 for covariances) of 40 000 samples.
    """
    z = draw(subject, 4.0, layout, query_noise=noise)
    parts = np.concatenate([z.real, z.imag], axis=1)  # (COUNT, 4)
    half = (0.25 + noise) / 2.0
    subject.assert_close(parts.mean(0), np.zeros(4), SPREAD * np.sqrt(half), scale=1.0)
    subject.assert_close(parts.T @ parts / COUNT, half * np.eye(4), 2 * SPREAD)


def test_variance_per_mode(subject: Subject) -> None:
    """Spec §5, §10: each mode has variance 1/p_k + γ_k².

    Within 6 standard errors of 40 000 samples (12 for real parts).
    """
    z = draw(subject, np.asarray([0.5, 8.0]), query_noise=np.asarray([0.0, 1.0]))
    variance = np.asarray([2.0, 1.125])
    subject.assert_close(np.mean(np.abs(z) ** 2, axis=0) / variance, np.ones(2), SPREAD)
    subject.assert_close(np.mean(z.real**2, axis=0) / variance, np.full(2, 0.5), 2 * SPREAD)


@pytest.mark.asserts
@pytest.mark.parametrize("layout", LAYOUTS)
def test_variances_along_and_across_the_anchor(subject: Subject, layout: str) -> None:
    """Spec §6, §10: 1/p_r + γ² along the anchor, 1/p_t + γ² across it, whatever its length.

    Within 6 standard errors of 40 000 samples.
    """
    u, w = np.asarray([0.6, 0.8j]), np.asarray([0.8, -0.6j])
    anchor = write_modes(constant_anchor(3.0 * u), layout)
    z = draw(subject, RadialTangential(0.25, 4.0), layout, anchor=anchor, query_noise=0.5)
    parallel, across = z @ u.conj() / np.sqrt(4.5), z @ w.conj() / np.sqrt(0.75)
    for each in (parallel, across):
        assert abs(np.mean(np.abs(each) ** 2) - 1.0) <= SPREAD
        assert abs(np.mean(each.real**2) - 0.5) <= SPREAD
    assert abs(np.mean(parallel * across.conj())) <= SPREAD


def test_without_a_direction_all_is_tangential(subject: Subject) -> None:
    """Spec §6: where the anchor is zero the variance is 1/p_t in all directions.

    Within 6 standard errors of 40 000 samples.
    """
    z = draw(
        subject, RadialTangential(0.25, 4.0), anchor=constant_anchor(np.zeros(2, dtype=complex))
    )
    subject.assert_close(np.mean(np.abs(z) ** 2, axis=0), np.full(2, 0.25), SPREAD)


@pytest.mark.asserts
@drawn(description=descriptions(queries=4, keys=4, masked=False))
def test_samples_depend_on_the_generator_only(subject: Subject, description: Description) -> None:
    """Spec §10: a generator in the same state gives bitwise the same sample.

    Other libraries agree with NumPy to 16 ε.
    """
    problem = sample_problem(description)
    sent = send(problem, subject)
    estimate = Estimate(*call(afa_core.estimate, sent, subject))
    options: dict[str, Any] = layout_of(problem)
    local = Estimate(*(fetch(x, subject) for x in estimate))
    anchor = problem.anchor if problem.anchor is not None else problem.value
    written = write_modes(anchor, problem.layout)
    directed = isinstance(local.precision, RadialTangential)

    def sample(estimate_of: Estimate, send_anchor: Any) -> NDArray[Any]:
        anchor_option: dict[str, Any] = {"anchor": send_anchor(written)} if directed else {}
        rng = np.random.default_rng(description.seed)
        return np.asarray(
            fetch(afa_core.sample(estimate_of, rng=rng, **options, **anchor_option), subject)
        )

    first, second = (sample(estimate, subject.from_numpy) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    if subject.name == "numpy":
        return
    rng = np.random.default_rng(description.seed)
    own: dict[str, Any] = {"anchor": written} if directed else {}
    expected = afa_core.sample(local, rng=rng, **options, **own)
    subject.assert_close(first, expected, 16 * EPS)


@pytest.mark.asserts
def test_leading_axes_of_the_precision(subject: Subject) -> None:
    """Spec §8.1, §10: leading axes that only the precision has give independent samples."""
    mean, precision = np.zeros((1, 3, 2), dtype=complex), np.ones((5, 3))
    estimate = Estimate(subject.from_numpy(mean), subject.from_numpy(precision))
    found = fetch(afa_core.sample(estimate, rng=np.random.default_rng(0)), subject)
    assert found.shape == (5, 3, 2)
    assert len(np.unique([found.real, found.imag])) == 60
