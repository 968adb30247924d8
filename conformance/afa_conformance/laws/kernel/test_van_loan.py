"""In dense coordinates V and e^{ΛΔ} are those of the linear SDE itself (spec §1, §2)."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles import covariances
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, Noise


@drawn(seed=st.integers(0, 2**32 - 1), modes=st.sampled_from((1, 2, 4)), growing=st.booleans())
def test_dense_exponential(subject: Subject, seed: int, modes: int, growing: bool) -> None:
    """Spec §1: with A = SΛS⁻¹ and Q = SΛ_QS†, e^{AΔ} is S e^{ΛΔ} S⁻¹, and the covariance SVS†.

    To 256 ε times cond(S)² and the growth e^{2|μ|Δ} of the block exponential; S is random.
    """
    rng = np.random.default_rng(seed)
    basis = complex_normal(rng, (modes, modes)) + 2.0 * np.eye(modes)
    decay = rng.uniform(0.0, 0.8, modes) * (-1.0 if growing else 1.0)
    frequency, process = rng.uniform(-2.0, 2.0, modes), rng.uniform(0.1, 2.0, modes)
    lag = rng.uniform(0.1, 3.0)
    inverse = np.linalg.inv(basis)
    state_matrix = basis @ np.diag(-decay + 1j * frequency) @ inverse
    noise = basis @ np.diag(process) @ basis.conj().T
    transition, variance = covariances.van_loan(state_matrix, noise, lag)

    parameters = (subject.from_numpy(x) for x in (decay, frequency, process))
    mu, omega, sigma2 = parameters
    sde = DiagonalSDE(mu, omega, Noise(sigma2, 1.0, 1.0))
    lags = subject.from_numpy(np.full(modes, lag))
    own_transition = basis @ np.diag(subject.to_numpy(sde.transition(lags))) @ inverse
    own_variance = basis @ np.diag(subject.to_numpy(sde.covariance(lags))) @ basis.conj().T
    condition = np.linalg.cond(basis) ** 2 * np.exp(2.0 * np.max(np.abs(decay)) * lag)
    subject.assert_close(own_transition, transition, 256 * EPS * condition)
    subject.assert_close(own_variance, variance, 256 * EPS * condition)
