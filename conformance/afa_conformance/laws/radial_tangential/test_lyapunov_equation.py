"""Along and across a direction, noise accumulates as in a dense system (spec §6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.numerics import complex_normal, derivative
from afa_conformance.oracles.covariances import van_loan
from afa_conformance.oracles.directions import directional_covariance
from afa_conformance.subject import Subject
from afa_core import Noise, RadialTangentialSDE

pytestmark = pytest.mark.needs("library", "float64")

SEEDS = st.integers(0, 2**32 - 1)
STEP = 1e-3


def draw(seed: int) -> tuple[np.random.Generator, float, Any, Any]:
    rng = np.random.default_rng(seed)
    decay, *noises = rng.uniform(0.1, 1.0, 7).tolist()
    return rng, decay, Noise(*noises[:3]), Noise(*noises[3:])


def covariances(
    subject: Subject, decay: float, radial: Noise, tangential: Noise, lag: float
) -> tuple[float, float, float, float]:
    """Return V_r, V_t, v_r, v_t at one lag."""
    sde = RadialTangentialSDE(decay, 0.3, radial, tangential)
    at = subject.from_numpy(np.asarray([lag]))
    components = (*sde.covariance(at), *sde.residual_covariance(at))
    return tuple(float(subject.to_numpy(x)[0]) for x in components)  # type: ignore[return-value]


@drawn(seed=SEEDS)
def test_both_sides_solve_the_equation(subject: Subject, seed: int) -> None:
    """Spec §6, §2: dv/ds = −2μ(v − γ²) + σ² for v_r and for v_t, each with its own noise.

    By differences of step h = 1e-3, to 64 ε/h; v(0) = γ² + η² to ε.
    """
    _, decay, radial, tangential = draw(seed)

    def at(lag: float) -> NDArray[Any]:
        return np.asarray(covariances(subject, decay, radial, tangential, lag)[2:])

    query = np.asarray([radial.query, tangential.query])
    process = np.asarray([radial.process, tangential.process])
    slope = derivative(at, 1.3, STEP)
    subject.assert_close(
        slope, process - 2.0 * decay * (at(1.3) - query), 16 * EPS / STEP, scale=4.0
    )
    subject.assert_close(
        at(0.0), query + np.asarray([radial.measurement, tangential.measurement]), EPS
    )


@drawn(seed=SEEDS, modes=st.sampled_from((1, 2, 4)))
def test_dense_exponential_keeps_the_direction(subject: Subject, seed: int, modes: int) -> None:
    """Spec §6: along a co-rotating direction the dense covariance is V_t P_⊥ + V_r P_∥, to 256 ε.

    Noise points along u(t) = e^{iωt}u; in the rotating frame it is Q = σ_t² P_⊥ + σ_r² P_∥.
    """
    rng, decay, radial, tangential = draw(seed)
    direction = complex_normal(rng, (modes,))
    noise = directional_covariance(direction, radial.process, tangential.process)
    _, dense = van_loan(-decay * np.eye(modes, dtype=complex), noise, 1.3)
    along, across, *_ = covariances(subject, decay, radial, tangential, 1.3)
    subject.assert_close(directional_covariance(direction, along, across), dense, 256 * EPS)
    spectrum = np.sort(np.asarray([along] + [across] * (modes - 1)))
    subject.assert_close(np.linalg.eigvalsh(dense), spectrum, 256 * EPS)
