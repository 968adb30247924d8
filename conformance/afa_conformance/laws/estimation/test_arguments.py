"""Unsuitable arguments raise errors that name them, alike on every library (spec §8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise, RadialTangentialSDE, kalman
from afa_core.model.simulate import simulate

pytestmark = pytest.mark.asserts

NOISE = Noise(0.2, 1.0, 0.5)
SDE = IsotropicSDE(0.1, 0.5, NOISE)
Z = np.ones((3, 4))

REFUSED: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "`measurements` must be an array": (TypeError, {"measurements": [[1.0]]}),
    "`measurements` must have a real or complex": (
        TypeError,
        {"measurements": np.ones((3, 4), int)},
    ),
    "`measurements` must have an even last axis": (ValueError, {"measurements": np.ones((3, 3))}),
    r"`measurements` must have shape \(..., tokens": (ValueError, {"measurements": np.ones(4)}),
    r"`measurements` must have shape \(..., n ≥ 1": (ValueError, {"measurements": np.ones((0, 4))}),
    "`measurements` must be real for `layout` 'real'": (
        TypeError,
        {"measurements": Z + 0j, "layout": "real"},
    ),
    "`layout` must be one of 'interleaved', 'halves', 'real'": (ValueError, {"layout": "both"}),
    r"`times` must have shape \(..., 3\)": (ValueError, {"times": np.ones(2)}),
    "`times` must have a real floating or signed": (TypeError, {"times": np.ones(3, bool)}),
    "RadialTangentialSDE, whose noise follows the state": (
        TypeError,
        {"sde": RadialTangentialSDE(0.1, 0.5, NOISE, NOISE)},
    ),
    "`sde` must be of type IsotropicSDE or DiagonalSDE, got tuple": (TypeError, {"sde": (1.0,)}),
    "`sde.frequency` must be 0 for `layout` 'real', got 0.5": (ValueError, {"layout": "real"}),
    r"`sde.frequency` must have shape \(..., 2\)": (
        ValueError,
        {"sde": SDE._replace(frequency=np.ones(3))},
    ),
    "leading axes .* must broadcast": (
        ValueError,
        {"sde": SDE._replace(decay=np.ones(5)), "times": np.ones((3, 3))},
    ),
    "`observed` must be boolean": (TypeError, {"observed": np.ones((3, 2))}),
    r"`observed` must broadcast to \(..., 3, 2\)": (
        ValueError,
        {"observed": np.ones((3, 4), bool)},
    ),
    "`prior` must be of type Prior": (TypeError, {"prior": (0.0, 1.0)}),
    r"`prior.mean` must have shape \(..., 4\)": (
        ValueError,
        {"prior": kalman.Prior(np.ones(2), 1.0)},
    ),
    "`prior.mean` must be real like `measurements`": (
        TypeError,
        {"prior": kalman.Prior(np.ones(4) + 0j, 1.0)},
    ),
    r"`prior.variance` must have shape \(..., 2\)": (
        ValueError,
        {"prior": kalman.Prior(0.0, np.ones(4))},
    ),
    "`dof` must be a Python number or an array": (TypeError, {"dof": "four"}),
    "`iterations` must be an integer ≥ 0, got -1": (ValueError, {"iterations": -1}),
}


def sent(subject: Subject, x: Any) -> Any:
    """Return a copy with NumPy arrays moved to the subject."""
    if isinstance(x, np.ndarray):
        return subject.from_numpy(x)
    if isinstance(x, tuple) and hasattr(x, "_asdict"):
        return type(x)(*(sent(subject, each) for each in x))
    return x


@pytest.mark.parametrize("message", REFUSED)
def test_estimators_refuse(subject: Subject, message: str) -> None:
    """Spec §8: every estimator raises TypeError or ValueError with the same message."""
    kind, changes = REFUSED[message]
    given: dict[str, Any] = {"measurements": Z, "times": None, "sde": SDE} | changes
    given = {name: sent(subject, x) for name, x in given.items()}
    estimators: list[Any] = [kalman.robust_filter]
    if not {"dof", "iterations"} & changes.keys():
        estimators += [kalman.filter, kalman.smoother]
        if "prior" not in changes:
            estimators.append(kalman.batch_mle)
    for estimator in estimators:
        with pytest.raises(kind, match=message):
            estimator(**given)


def test_causal_must_be_boolean(subject: Subject) -> None:
    """Spec §8: `causal` other than True or False raises TypeError."""
    with pytest.raises(TypeError, match="`causal` must be True or False"):
        kalman.batch_mle(sent(subject, Z), None, SDE, causal=1)  # type: ignore[arg-type]


SIMULATIONS: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "`times` must be an array": (TypeError, {"times": [0.0, 1.0]}),
    r"`times` must have shape \(..., n ≥ 1\)": (ValueError, {"times": np.ones(0)}),
    r"`initial` must have shape \(..., channels": (ValueError, {"initial": np.asarray(1.0)}),
    "`initial` must have an even last axis": (ValueError, {"initial": np.ones(3)}),
    "`rng` must be a numpy.random.Generator, got int": (TypeError, {"rng": 7}),
    "`method` must be one of 'euler', 'linearised', got 'exact'": (ValueError, {"method": "exact"}),
    "`substeps` must be an integer ≥ 1, got 0": (ValueError, {"substeps": 0}),
    r"`sde.frequency` must have shape \(..., 2\)": (
        ValueError,
        {"sde": SDE._replace(frequency=np.ones(4))},
    ),
}


@pytest.mark.parametrize("message", SIMULATIONS)
def test_simulate_refuses(subject: Subject, message: str) -> None:
    """Spec §8: TypeError or ValueError with a message that names the argument."""
    kind, changes = SIMULATIONS[message]
    given: dict[str, Any] = {"times": np.ones(3), "initial": np.ones(4), "sde": SDE} | changes
    given = {name: sent(subject, x) for name, x in given.items()}
    with pytest.raises(kind, match=message):
        simulate(given.pop("sde"), given.pop("times"), **{"rng": np.random.default_rng(), **given})
