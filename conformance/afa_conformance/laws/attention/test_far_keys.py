"""Keys at long lags keep a share of the weight (spec §7.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.weights import log_weight
from afa_conformance.problems import DrawnProblem, completed, condition
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import RadialTangentialSDE

FAR = descriptions(
    leading=(), sharing="each", decay="ordinary", noise="ordinary", temperature="one",
    causal=False, masked=False, anchored=True, queries=1, keys=4,
)  # fmt: skip


def limit_precision(problem: DrawnProblem) -> tuple[Any, ...]:
    """Return w/Σ_∞ of a key at infinite lag: Σ_∞ = γ² + σ²/2μ, and the residual is q."""
    sde, query2 = problem.sde, np.abs(problem.query[0]) ** 2
    if isinstance(sde, RadialTangentialSDE):
        variances: tuple[Any, ...] = tuple(
            noise.query + noise.process / (2.0 * sde.decay) for noise in sde[2:4]
        )
        distance = np.sum(query2) / variances[0]  # the query is all radial
    else:
        variances = (sde.noise.query + sde.noise.process / (2.0 * sde.decay),)
        distance = np.sum(query2 / variances[0])
    weight = np.exp(log_weight(problem.weighting, distance, problem.modes))
    return tuple(weight / sigma for sigma in variances)


@pytest.mark.needs("precision")
@drawn(description=FAR)
def test_far_key_floor(subject: Subject, description: Description) -> None:
    """Spec §7.6: as μΔ → ∞ the logit tends to −log Σ_∞ + log w(‖q‖²/Σ_∞), for any key.

    Σ_∞ = γ² + σ²/2μ. With four far keys the precision is 4w/Σ_∞, to 8 ε times the condition of the
    problem, and the estimate is zero to 1e-20. Decays are at least 0.05, so E² < 1e-40.
    """
    problem = completed(sample_problem(description))
    problem = replace(problem, key_times=problem.key_times - 1000.0)
    mean, precision = run_estimate(problem, subject)
    subject.assert_close(mean, np.zeros_like(mean), 1e-20)
    for got, each in zip(parts(precision), limit_precision(problem), strict=True):
        subject.assert_close(got[0], 4.0 * each, 8 * problem.eps * condition(problem))


@pytest.mark.needs("precision")
@drawn(description=FAR)
def test_far_keys_dilute(subject: Subject, description: Description) -> None:
    """Spec §7.6: m far keys of weight c multiply the estimate by Z/(Z + mc).

    Z is the sum of weights of the near keys. To 16 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description.having(form="isotropic")))
    mean, (near, *_) = run_estimate(problem, subject)
    both = replace(
        problem,
        key=np.concatenate([7.0 * problem.key, problem.key], axis=-2),
        value=np.concatenate([7.0 * problem.value, problem.value], axis=-2),
        key_times=np.concatenate([problem.key_times - 1000.0, problem.key_times], axis=-1),
    )
    diluted, _ = run_estimate(both, subject)
    expected = mean * near / (near + 4.0 * limit_precision(problem)[0])
    subject.assert_close(diluted, expected, 16 * problem.eps * condition(problem))
