"""On unit tokens the Student-t weight is a power law of the cosine (spec §7.2)."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from afa_conformance.drawing import drawn
from afa_conformance.numerics import complex_normal, slope
from afa_conformance.problems import DrawnProblem
from afa_conformance.runner import applied_weights
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise, StudentT

MODES, KEYS = 2, 4


def unit_tokens(seed: int, sigma: float, dof: float, *, angle: float | None = None) -> DrawnProblem:
    """Return one query and some keys on the unit sphere, with μ = ω = 0 and Σ = sigma."""
    rng = np.random.default_rng(seed)
    query, key = complex_normal(rng, (1, MODES)), complex_normal(rng, (KEYS, MODES))
    query = query / np.linalg.norm(query)
    if angle is not None:
        key = query + angle * np.arange(KEYS)[:, None] * key
    key = key / np.linalg.norm(key, axis=-1, keepdims=True)
    return DrawnProblem(
        query=query,
        key=key,
        value=key,
        sde=IsotropicSDE(0.0, 0.0, Noise(0.0, 0.25 * sigma, 0.75 * sigma)),
        weighting=StudentT(dof),
        causal=False,
    )


def relative_logits(problem: DrawnProblem, subject: Subject) -> np.ndarray:
    """Return log A_j − log A_0."""
    logs = np.log(applied_weights(problem, subject)[0])
    return np.asarray(logs - logs[0])


def cosines(problem: DrawnProblem) -> np.ndarray:
    return np.asarray((problem.query.conj() @ problem.key.T).real[0])


@drawn(seed=st.integers(0, 2**32 - 1), dof=st.sampled_from((1.0, 4.0, 9.0)))
def test_logits_are_linear_in_the_cosine(subject: Subject, seed: int, dof: float) -> None:
    """Spec §7.2: L = const + 2κ/(ν_s dΣ + 2)·s + O(1/(ν_s dΣ)²), κ = ν_s + 1, s the cosine.

    The remainder is the next term of the series, to the size of the one after it; it falls with
    exponent −2 to 0.15.
    """
    sizes, errors = (30.0, 100.0, 300.0, 1000.0), []
    for sigma in sizes:
        problem = unit_tokens(seed, sigma, dof)
        s = cosines(problem)
        linear = 2.0 * (dof + 1.0) / (dof * MODES * sigma + 2.0) * (s - s[0])
        remainder = relative_logits(problem, subject) - linear
        errors.append(float(np.max(np.abs(remainder))))
        # the next term of the logarithm's series, and the one after it as its bound
        x = 2.0 / (dof * MODES * sigma + 2.0)
        second = (dof + 1.0) * x**2 / 2.0 * (s**2 - s[0] ** 2)
        subject.assert_close(remainder, second, (dof + 1.0) * x**3 + 64 * problem.eps, scale=1.0)
    assert abs(slope(sizes, errors) + 2.0) < 0.15


@drawn(
    seed=st.integers(0, 2**32 - 1),
    dof=st.sampled_from((1.0, 4.0, 9.0)),
    sigma=st.sampled_from((0.3, 1.0, 5.0)),
)
def test_slope_at_small_angles(subject: Subject, seed: int, dof: float, sigma: float) -> None:
    """Spec §7.2: near s = 1 the logit falls by 2κ/(ν_s dΣ) per unit of cosine.

    To the square of the angle.
    """
    problem = unit_tokens(seed, sigma, dof, angle=1e-3)
    s = cosines(problem)
    expected = 2.0 * (dof + 1.0) / (dof * MODES * sigma) * (s - s[0])
    size = float(np.max(np.abs(expected)))
    # the angle squared, over the scale of the power law
    curvature = 4.0 * float(np.max(1.0 - s)) * (1.0 + 1.0 / (dof * MODES * sigma))
    subject.assert_close(
        relative_logits(problem, subject), expected, curvature + 64 * problem.eps / size
    )
