"""With uniform weights, attention to correlated keys is the Kalman filter (spec §14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, completed
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, Noise, RadialTangentialSDE, kalman

TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
"""Of the largest value, and of the largest variance."""

FILTERS = descriptions(
    correlated=True, causal=True, weighting="uniform", temperature="one", anchored=True,
    times=["default", "irregular", "tied"], noise=["ordinary", "no process", "no query"],
    decay=["ordinary", "zero", "slow"], queries=60, keys=60, dtype=["float64", "float32"],
)  # fmt: skip


def at_their_tokens(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem with queries at the times of their tokens."""
    problem = completed(problem)
    return replace(problem, query_times=problem.key_times)


def filtered(problem: DrawnProblem, noise: Noise) -> tuple[Any, Any]:
    """Return mean and variance of the Kalman filter, for the values as measurements."""
    sde, modes = problem.sde, problem.value_modes
    frequency = sde.frequency if isinstance(sde, DiagonalSDE) else sde.value_frequency

    def per_mode(x: Any) -> Any:
        x = np.asarray(x)
        return x if isinstance(sde, DiagonalSDE) else x[..., None] + np.zeros(modes)

    model = DiagonalSDE(
        per_mode(sde.decay),
        np.asarray(frequency) + np.zeros(modes),
        Noise(*(per_mode(x) for x in noise)),
    )
    observed = None if problem.mask is None else np.swapaxes(problem.mask, -1, -2)
    found = kalman.filter(problem.value, problem.key_times, model, observed=observed)
    return found.mean, found.variance


@pytest.mark.fewer_examples(2)
@drawn(description=FILTERS)
def test_mean_and_variance(subject: Subject, description: Description) -> None:
    """Spec §14: with w = 1 mean and 1/precision are those of `kalman.filter`.

    At regular, irregular and tied times, with gaps, for every decay and noise: 60 tokens, to 1e-12
    in double and 2e-6 in single precision. Radial and tangential estimates are those of two
    filters.
    """
    problem = at_their_tokens(sample_problem(description))
    tolerance = TOLERANCE[problem.dtype]
    mean, precision = run_estimate(problem, subject)
    sde = problem.sde
    if isinstance(sde, RadialTangentialSDE):
        pairs = [filtered(problem, each) for each in (sde.radial_noise, sde.tangential_noise)]
        length2 = np.sum(np.abs(problem.anchor) ** 2, axis=-1, keepdims=True)
        along = [
            problem.anchor * np.sum(problem.anchor.conj() * x, axis=-1, keepdims=True) / length2
            for x, _ in pairs
        ]
        expected = along[0] + pairs[1][0] - along[1]
        variances = [variance[..., 0] for _, variance in pairs]
    else:
        expected, variance = filtered(problem, sde.noise)
        variances = [variance if isinstance(sde, DiagonalSDE) else variance[..., 0]]
    expected, mean = np.broadcast_arrays(np.nan_to_num(expected), mean)
    scale = float(np.max(np.abs(problem.value)))
    subject.assert_close(mean, expected, tolerance, scale=scale)
    for got, exact in zip(parts(precision), variances, strict=False):
        got, exact = np.broadcast_arrays(got, exact)
        visible = got > 0.0
        assert np.array_equal(visible, np.isfinite(exact))
        subject.assert_close(1.0 / got[visible], exact[visible], tolerance)
