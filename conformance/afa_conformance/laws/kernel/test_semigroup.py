"""Propagation over two lags is propagation over their sum (spec §2, semigroup)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.kernels import (
    KERNELS,
    KernelSample,
    decay_factor,
    library_covariance,
    library_residual_covariance,
    sample_kernel,
)
from afa_conformance.subject import Subject

SEEDS = st.integers(0, 2**32 - 1)


def split(seed: int) -> tuple[KernelSample, KernelSample, KernelSample]:
    """Return steps s and t and the step s + t."""
    whole = sample_kernel(seed, low=1e-6, high=1.0)
    share = np.random.default_rng(seed + 1).uniform(0.1, 0.9, whole.lag.shape)
    return (
        replace(whole, lag=whole.lag * share),
        replace(whole, lag=whole.lag - whole.lag * share),
        whole,
    )


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_variances_compose(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: V(s+t) = e^{−2μt} V(s) + V(t), to 32 ε."""
    first, second, whole = split(seed)
    v1, v2, v = (library_covariance(kind, each, subject) for each in (first, second, whole))
    subject.assert_close((decay_factor(second) ** 2 * v1 + v2) / v, np.ones_like(v), 32 * EPS)


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_query_noise_does_not_propagate(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: V + η²E² composes like V; Σ does not, by γ²(1 − e^{−2μt}); to 32 ε."""
    first, second, whole = split(seed)
    sigma1, sigma = (
        library_residual_covariance(kind, first, subject),
        library_residual_covariance(kind, whole, subject),
    )
    missed = sigma - (
        decay_factor(second) ** 2 * sigma1 + library_covariance(kind, second, subject)
    )
    expected = whole.query * (1.0 - decay_factor(second) ** 2)
    subject.assert_close(missed / sigma, expected / sigma, 32 * EPS, scale=1.0)
