"""The influence of keys fades with the time that has passed, however many there are (spec §14)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles.covariances import residual_covariance
from afa_conformance.problems import DrawnProblem
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import Rational

NEAR = descriptions(
    correlated=True, causal=True, form="isotropic", weighting=["uniform", "rational"],
    temperature="one", noise="ordinary", decay=["ordinary", "zero"], times="regular",
    masked=False, rotation="own", queries=24, keys=24, dtype=["float64", "float32"],
)  # fmt: skip


def with_far_keys(problem: DrawnProblem, number: int, rng: np.random.Generator) -> DrawnProblem:
    """Return the problem with a burst of keys long before all others."""
    leading = problem.key.shape[:-2]
    key = complex_normal(rng, (*leading, number, problem.modes))
    value = complex_normal(rng, (*leading, number, problem.value_modes))
    times = problem.key_times[0] - 40.0 + np.arange(-number, 0) * 2.0**-6
    return replace(
        problem,
        key=np.concatenate([key, problem.key], axis=-2),
        value=np.concatenate([value, problem.value], axis=-2),
        key_times=np.concatenate([times, problem.key_times]),
    )


@pytest.mark.asserts
@pytest.mark.fewer_examples(2)
@drawn(description=NEAR)
def test_many_far_keys_change_little(subject: Subject, description: Description) -> None:
    """Spec §14: keys up to b change x̂_i by at most 2 max‖v‖ e^{C_i − C_b}/Σ aw of the others.

    200 keys, 40 units of time before 24 others: e^{C_i − C_b} ≤ ∏ η²/(η² + V(h)), and Σ aw is
    at least the smallest weight of a pair.
    """
    problem = sample_problem(description)
    problem = replace(problem, query=problem.query / 4.0, key=problem.key / 4.0)
    far = with_far_keys(problem, 200, np.random.default_rng(description.seed))
    changed = np.abs(run_attention(far, subject) - run_attention(problem, subject))
    noise, decay = problem.sde.noise, np.asarray(problem.sde.decay)[..., None]
    lags = np.concatenate([[40.0], np.full(23, 0.5)])
    gained = residual_covariance(lags, decay, (np.asarray(noise.process)[..., None], 0.0, 0.0))
    measurement = np.asarray(noise.measurement)[..., None]
    kept = np.cumprod(measurement / (measurement + gained), axis=-1)
    least = 1.0
    if isinstance(problem.weighting, Rational):
        norms = [np.max(np.linalg.norm(x, axis=-1)) for x in (problem.query, problem.key)]
        dof = float(np.min(np.asarray(problem.weighting.dof, dtype=float)))
        smallest = float(np.min(np.asarray(noise.query)))
        least = 1.0 / (1.0 + sum(norms) ** 2 / (dof * problem.modes * smallest))
    largest = float(np.max(np.linalg.norm(far.value, axis=-1)))
    bound = 2.0 * largest * kept / (least * (1.0 - kept))
    rounding = 64 * problem.eps * largest
    assert np.all(np.linalg.norm(changed, axis=-1) <= bound + rounding)
