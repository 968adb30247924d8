"""V is the integral of decayed noise (spec §2)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.drawing import drawn
from afa_conformance.kernels import KERNELS, library_covariance, sample_kernel
from afa_conformance.oracles import covariances
from afa_conformance.subject import Subject


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=st.integers(0, 2**32 - 1), growing=st.booleans())
def test_variance_accumulates_decayed_noise(
    subject: Subject, kind: str, seed: int, growing: bool
) -> None:
    """Spec §2: V(Δ) = ∫₀^Δ e^{−2μs} σ² ds, any sign of μ, to the quadrature's 4e-13."""
    kernel = sample_kernel(seed, low=1e-6, high=10.0, growing=growing, count=8)
    expected = np.asarray(
        [
            covariances.quadrature(*each)
            for each in zip(kernel.lag, kernel.decay, kernel.process, strict=True)
        ]
    )
    got = library_covariance(kind, kernel, subject)
    subject.assert_close(got / expected, np.ones_like(expected), 4e-13)
