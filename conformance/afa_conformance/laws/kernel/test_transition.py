"""The transition is a decaying rotation (spec §2, §3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE

NOISE = Noise(1.0, 1.0, 1.0)


def build(form: str, decay: Any, frequency: Any) -> Any:
    if form == "radial_tangential":
        return RadialTangentialSDE(decay, frequency, NOISE, NOISE)
    return (IsotropicSDE if form == "isotropic" else DiagonalSDE)(decay, frequency, NOISE)


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "radial_tangential"])
@drawn(seed=st.integers(0, 2**32 - 1))
def test_transition_is_the_exponential(subject: Subject, form: str, seed: int) -> None:
    """Spec §3, §8.4: e^{ΛΔ} = e^{−μ|Δ| + iωΔ}: negative lags rotate back, and decay; to 16 ε.

    Parameters have leading axes and modes of equal length, so that a wrong axis shows.
    """
    rng = np.random.default_rng(seed)
    decay = rng.uniform(0.0, 1.0, (3, 3) if form == "diagonal" else (3,))
    frequency, lag = rng.uniform(-2.0, 2.0, (3, 3)), rng.uniform(-3.0, 3.0, (3, 3))
    sde = build(form, subject.from_numpy(decay), subject.from_numpy(frequency))
    got = subject.to_numpy(sde.transition(subject.from_numpy(lag)))
    rate = decay if form == "diagonal" else decay[:, None]
    subject.assert_close(got, np.exp(-rate * np.abs(lag) + 1j * frequency * lag), 16 * EPS)
