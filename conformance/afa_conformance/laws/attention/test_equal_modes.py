"""The diagonal form contains the isotropic one (spec §5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given

from afa_conformance.closeness import EPS, assert_close
from afa_conformance.descriptions import Description, descriptions
from afa_conformance.problems import condition
from afa_conformance.realising import realise
from afa_conformance.sending import attention_weights, estimate
from afa_core import DiagonalSDE, Noise
from afa_core.backend import Backend


@given(description=descriptions(form="isotropic", rotation="shared", modes=2, value_modes=2))
def test_equal_modes(backend: Backend, description: Description) -> None:
    """Spec §5: with equal modes it equals §4: the estimate, and precision and weights per mode."""
    problem = realise(description)

    def per_mode(x: Any) -> Any:
        return x if np.ndim(x) == 0 else np.repeat(x[..., None], 2, axis=-1)

    sde = problem.sde
    noise = Noise(*(per_mode(x) for x in sde.noise))
    diagonal = replace(problem, sde=DiagonalSDE(per_mode(sde.decay), sde.frequency, noise))
    mean, precision = estimate(problem, backend)
    same, each = estimate(diagonal, backend)
    tolerance = 8 * EPS * condition(problem)
    assert_close(same, mean, tolerance)
    assert_close(each, np.repeat(precision[..., None], 2, axis=-1), tolerance)
    weights = np.repeat(attention_weights(problem, backend)[..., None], 2, axis=-1)
    assert_close(attention_weights(diagonal, backend), weights, tolerance)
