"""Rotary attention is a special case, exactly (spec §7.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from afa_conformance.drawing import drawn
from afa_conformance.numerics import complex_normal
from afa_conformance.problems import DrawnProblem, condition
from afa_conformance.runner import applied_weights, read_modes, run_attention, write_modes
from afa_conformance.subject import Subject
from afa_core import Gaussian, IsotropicSDE, Noise

SEEDS = st.integers(0, 2**32 - 1)
TOKENS, MODES = 4, 2


def rope(x: NDArray[Any], frequencies: NDArray[Any]) -> NDArray[Any]:
    """Rotate interleaved pairs of real channels by position times frequency, as RoPE does."""
    angles = np.arange(len(x))[:, None] * frequencies
    even, odd = x[:, 0::2], x[:, 1::2]
    rotated = np.empty_like(x)
    rotated[:, 0::2] = even * np.cos(angles) - odd * np.sin(angles)
    rotated[:, 1::2] = even * np.sin(angles) + odd * np.cos(angles)
    return rotated


def causal_softmax(scores: NDArray[Any]) -> NDArray[Any]:
    hidden = np.triu(np.ones_like(scores, dtype=bool), 1)
    return np.asarray(special.softmax(np.where(hidden, -np.inf, scores), axis=-1))


def undamped(seed: int, variance: float, *, value_frequency: Any = None) -> DrawnProblem:
    """Return a problem with μ = σ² = 0 and η² + γ² = variance."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.1, 0.9)
    query, key, value = (complex_normal(rng, (TOKENS, MODES)) for _ in range(3))
    noise = Noise(0.0, share * variance, (1.0 - share) * variance)
    return DrawnProblem(
        query=query,
        key=key,
        value=value,
        sde=IsotropicSDE(0.0, rng.uniform(-1.0, 1.0, MODES), noise, value_frequency),
        weighting=Gaussian(),
        layout="interleaved",
    )


@drawn(seed=SEEDS)
def test_rotary_attention_on_real_channels(subject: Subject, seed: int) -> None:
    """Spec §7.1: equal key norms, d(η²+γ²) = 2√(2d), values not rotated: RoPE attention.

    On 2d real channels, at frequencies −ω, with scores over √(2d). Estimate and weights, to 8 ε
    times the condition of the problem.
    """
    variance = 2.0 * np.sqrt(2.0 * MODES) / MODES
    problem = undamped(seed, variance, value_frequency=0.0)
    norms = np.linalg.norm(problem.key, axis=-1, keepdims=True)
    problem = replace(problem, key=1.3 * problem.key / norms)
    query, key, value = (
        write_modes(x, "interleaved") for x in (problem.query, problem.key, problem.value)
    )
    scores = rope(query, -problem.sde.frequency) @ rope(key, -problem.sde.frequency).T
    weights = causal_softmax(scores / np.sqrt(2.0 * MODES))
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(applied_weights(problem, subject), weights, tolerance)
    expected = read_modes(weights @ value, "interleaved")
    subject.assert_close(run_attention(problem, subject), expected, tolerance)


@drawn(seed=SEEDS, variance=st.sampled_from((0.5, 2.0, 8.0)))
def test_key_norms_are_a_bias(subject: Subject, seed: int, variance: float) -> None:
    """Spec §7.1: T = d(η²+γ²)/2, and unequal key norms add −‖k_j‖²/(d(η²+γ²)) to the logits.

    Estimate and weights, to 8 ε times the condition of the problem.
    """
    problem = undamped(seed, variance)
    unrotate = np.exp(-1j * np.arange(TOKENS)[:, None] * problem.sde.frequency)
    query, key, value = (unrotate * x for x in (problem.query, problem.key, problem.value))
    scores = (query.conj() @ key.T).real / (MODES * variance / 2.0)
    weights = causal_softmax(scores - np.sum(np.abs(key) ** 2, axis=-1) / (MODES * variance))
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(applied_weights(problem, subject), weights, tolerance)
    subject.assert_close(
        run_attention(problem, subject), unrotate.conj() * (weights @ value), tolerance
    )
