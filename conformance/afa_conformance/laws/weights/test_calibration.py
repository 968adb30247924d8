"""The logit of a pair is largest where its covariance explains its residual (spec §3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import derivative
from afa_conformance.oracles.covariances import residual_covariance
from afa_conformance.problems import DrawnProblem, leaves, with_leaves
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, Gaussian, Noise, RadialTangentialSDE, Rational, StudentT

LAG = 1.5
STEP = 1e-2


def pair(description: Description) -> DrawnProblem:
    """One query, one key LAG earlier, with the same Σ for all modes and directions."""
    problem = sample_problem(description)
    rng = np.random.default_rng(description.seed)
    decay, *noise = rng.uniform(0.1, 1.0, 4).tolist()
    sde: Any = problem.sde
    if isinstance(sde, RadialTangentialSDE):
        sde = sde._replace(decay=decay, radial_noise=Noise(*noise), tangential_noise=Noise(*noise))
    else:
        sde = sde._replace(decay=decay, noise=Noise(*noise))
    anchor = problem.value if isinstance(sde, RadialTangentialSDE) else None
    return replace(
        problem,
        sde=sde,
        anchor=anchor,
        query_times=np.asarray([LAG]),
        key_times=np.asarray([0.0]),
    )


def calibrated(problem: DrawnProblem) -> DrawnProblem:
    """Return the pair with its noises scaled so that ‖r‖² = dΣ, by NumPy's own formulas."""
    sde = problem.sde
    noise = sde.radial_noise if isinstance(sde, RadialTangentialSDE) else sde.noise
    sigma = float(residual_covariance(LAG, sde.decay, noise))
    propagated = np.exp((-sde.decay + 1j * np.asarray(sde.frequency)) * LAG) * problem.key
    scale = float(np.sum(np.abs(problem.query - propagated) ** 2)) / (problem.modes * sigma)
    return scaled(problem, scale)


def scaled(problem: DrawnProblem, scale: float) -> DrawnProblem:
    """Return the problem with every noise, hence every Σ, multiplied."""
    noises = {name: x * scale for name, x in leaves(problem).items() if "noise" in name}
    return with_leaves(problem, noises)


def logits(problem: DrawnProblem, subject: Subject) -> np.ndarray:
    """Return L = log(w/Σ), the log-precision of a pair (spec §10), for each mode or direction."""
    _, precision = run_estimate(problem, subject)
    return np.asarray(np.log(np.concatenate([np.ravel(each) for each in parts(precision)])))


PAIR = descriptions(
    queries=1, keys=1, modes=2, value_modes=2, leading=(), sharing="each", decay="ordinary",
    noise="ordinary", masked=False, anchored=False, weighting=["student", "gaussian"],
)  # fmt: skip


@pytest.mark.needs("precision")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dof", [0.5, 4.0, 1e4, None])
@drawn(description=PAIR)
def test_logit_peaks_at_calibration(
    subject: Subject, form: str, dof: float | None, description: Description
) -> None:
    """Spec §3: over Σ, L = −log Σ + log w is largest exactly at ‖r‖² = dΣ.

    For `StudentT` of any dof, and `Gaussian`. By differences of step h = 0.01 in log Σ, the slope
    is zero to 64 ε/h. Almost every wrong constant breaks it: in Σ, in the decay, in d, in the
    exponent.
    """
    weighting = Gaussian() if dof is None else StudentT(dof)
    problem = calibrated(replace(pair(description.having(form=form)), weighting=weighting))

    def of_scale(log_scale: float) -> np.ndarray:
        return logits(scaled(problem, float(np.exp(log_scale))), subject)

    peak = of_scale(0.0)
    # roundings of L over the step; the sixth-order remainder is smaller
    subject.assert_close(
        derivative(of_scale, 0.0, STEP), np.zeros_like(peak), 64 * problem.eps / STEP, scale=1.0
    )
    for aside in (-1.0, -0.1, 0.1, 1.0):
        assert np.all(of_scale(aside) < peak)


@pytest.mark.needs("precision")
@pytest.mark.parametrize("form", FORMS)
@drawn(description=PAIR)
def test_rational_is_not_calibrated(subject: Subject, form: str, description: Description) -> None:
    """Spec §3, §12: `Rational` has exponent 1: the slope there is −ν_s/(ν_s + 1), not zero.

    By differences of step h = 0.01 in log Σ, to 64 ε/h.
    """
    problem = calibrated(replace(pair(description.having(form=form)), weighting=Rational(4.0)))

    def of_scale(log_scale: float) -> np.ndarray:
        return logits(scaled(problem, float(np.exp(log_scale))), subject)

    slope = derivative(of_scale, 0.0, STEP)
    subject.assert_close(slope, np.full_like(slope, -0.8), 64 * problem.eps / STEP)


@pytest.mark.needs("precision")
@drawn(
    seed=st.integers(0, 2**32 - 1),
    dof=st.sampled_from((0.5, 1.0, 4.0, 50.0)),
    modes=st.sampled_from((1, 2, 3)),
)
def test_fitted_scale_is_the_residuals(subject: Subject, seed: int, dof: float, modes: int) -> None:
    """Spec §3: with |r_k|² = Σ_k in every mode, a common scale of Σ does not raise the logit.

    By differences of step h = 0.01 in its logarithm, the slope is zero to 64 ε/h.
    """
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(1, modes)) + 1j * rng.normal(size=(1, modes))
    size = np.abs(query[0]) ** 2
    problem = DrawnProblem(
        query=query,
        key=np.zeros_like(query),
        value=np.ones_like(query),
        sde=DiagonalSDE(0.0, 0.0, Noise(0.0, 0.25 * size, 0.75 * size)),
        weighting=StudentT(dof),
        layout="interleaved",
    )

    def of_scale(log_scale: float) -> np.ndarray:
        return logits(scaled(problem, float(np.exp(log_scale))), subject)

    slope = derivative(of_scale, 0.0, STEP)
    subject.assert_close(slope, np.zeros_like(slope), 64 * problem.eps / STEP, scale=1.0)
