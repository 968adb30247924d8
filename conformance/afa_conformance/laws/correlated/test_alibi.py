"""At regular times the weights become those of ALiBi, with a slope that follows (spec §14)."""

from __future__ import annotations

import numpy as np
import pytest

import afa_core
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise, Uniform

TOKENS = 120


@pytest.mark.needs("library", "float64")
@pytest.mark.parametrize("decay", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("process", [0.02, 0.3, 4.0])
def test_slope(subject: Subject, process: float, decay: float) -> None:
    """Spec §14: in the steady state log a_ij = log K + (i − j) log(1 − K), to 1e-12.

    K = P⁻/(P⁻ + η²), P⁻ the positive root of P⁻² + P⁻(η²(1 − E²) − V) − Vη² = 0.
    """
    measurement, carried = 0.7, np.exp(-2.0 * decay)
    gained = process * (-np.expm1(-2.0 * decay) / (2.0 * decay) if decay else 1.0)
    half = (measurement * (1.0 - carried) - gained) / 2.0
    predicted = np.sqrt(half**2 + gained * measurement) - half
    gain = predicted / (predicted + measurement)

    x = subject.from_numpy(np.ones((TOKENS, 2)))
    sde = IsotropicSDE(decay, 0.0, Noise(process, measurement, 0.5))
    found = afa_core.attention_weights(x, x, x, sde, weighting=Uniform(), correlated=True)
    latest = subject.to_numpy(found)[-1, -20:]
    expected = gain * (1.0 - gain) ** np.arange(19, -1, -1)
    subject.assert_close(latest / expected, np.ones(20), 1e-12)
