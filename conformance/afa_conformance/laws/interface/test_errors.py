"""Unsuitable arguments raise errors that name them (spec §8)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.runner import arguments, parameter_dtype, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

pytestmark = pytest.mark.needs("library")

STRANGERS = ("array_api_strict", "torch", "jax.numpy")
N, D = 4, 2


@dataclass(frozen=True)
class Maker:
    """Makes arrays of the subject's library, of ones, in the width in which it is judged."""

    subject: Subject
    width: str

    def ones(self, *shape: int, kind: str = "f") -> Any:
        dtypes = {"f": self.width, "c": "complex128" if self.width == "float64" else "complex64"}
        return self.subject.from_numpy(np.ones(shape, dtypes.get(kind, kind)))

    def foreign(self, *shape: int) -> Any:
        """Return an array of NumPy, or for NumPy one of any other library."""
        if not isinstance(self.ones(), np.ndarray):
            return np.ones(shape, self.width)
        for name in STRANGERS:
            try:
                return import_module(name).asarray(np.ones(shape, self.width))
            except ImportError:
                continue
        pytest.skip(f"none of {', '.join(STRANGERS)} is installed")


class Wrong(NamedTuple):
    """Arguments to be refused: the argument that the message names, how, and by which error."""

    name: str
    error: type[Exception]
    make: Callable[[Maker], dict[str, Any]]
    form: str = "isotropic"


def parameter(**changes: Any) -> Callable[[Any], Any]:
    return lambda sde: sde._replace(**changes)


WRONG = {
    "a list": Wrong("query", TypeError, lambda m: {"query": [[1.0, 2.0]] * N}),
    "integers": Wrong("query", TypeError, lambda m: {"query": m.ones(N, 2 * D, kind="i4")}),
    "one axis": Wrong("key", ValueError, lambda m: {"key": m.ones(2 * D)}),
    "channels of key": Wrong("key", ValueError, lambda m: {"key": m.ones(N, 2 * D + 2)}),
    "tokens of value": Wrong("value", ValueError, lambda m: {"value": m.ones(N + 1, 2 * D)}),
    "modes of value": Wrong(
        "value", ValueError, lambda m: {"value": m.ones(N, 2 * D + 2)}, "diagonal"
    ),
    "odd width": Wrong("value", ValueError, lambda m: {"value": m.ones(N, 2 * D + 1)}),
    "complex among real": Wrong("value", TypeError, lambda m: {"value": m.ones(N, D, kind="c")}),
    "another library": Wrong("key", TypeError, lambda m: {"key": m.foreign(N, 2 * D)}),
    "mask of another library": Wrong("mask", TypeError, lambda m: {"mask": m.foreign(N, N) > 0}),
    "mask of integers": Wrong("mask", TypeError, lambda m: {"mask": m.ones(N, N, kind="i4")}),
    "mask of numbers": Wrong("mask", TypeError, lambda m: {"mask": m.ones(N, N)}),
    "mask for other keys": Wrong(
        "mask", ValueError, lambda m: {"mask": m.ones(N, N + 1, kind="?")}
    ),
    "too many times": Wrong("key_times", ValueError, lambda m: {"key_times": m.ones(N + 1)}),
    "complex times": Wrong(
        "query_times", TypeError, lambda m: {"query_times": m.ones(N, kind="c")}
    ),
    "truths as times": Wrong("key_times", TypeError, lambda m: {"key_times": m.ones(N, kind="?")}),
    "unknown layout": Wrong("layout", ValueError, lambda m: {"layout": "thirds"}),
    "causal by number": Wrong("causal", TypeError, lambda m: {"causal": 1}),
    "no sde": Wrong("sde", TypeError, lambda m: {"sde": None}),
    "tuple for sde": Wrong("sde", TypeError, lambda m: {"sde": (0.1, 0.5, (0.2, 1.0, 1.0))}),
    "name of a weighting": Wrong("weighting", TypeError, lambda m: {"weighting": "student"}),
    "complex temperature": Wrong(
        "inverse_temperature", TypeError, lambda m: {"inverse_temperature": 1j}
    ),
    "text as decay": Wrong("sde.decay", TypeError, lambda m: {"sde": parameter(decay="slow")}),
    "integer decay": Wrong(
        "sde.decay", TypeError, lambda m: {"sde": parameter(decay=m.ones(1, kind="i4"))}
    ),
    "tuple for noise": Wrong(
        "sde.noise", TypeError, lambda m: {"sde": parameter(noise=(0.2, 1.0, 1.0))}
    ),
    "decays of other heads": Wrong(
        "sde.decay",
        ValueError,
        lambda m: {"query": m.ones(3, N, 2 * D), "sde": parameter(decay=m.ones(2))},
    ),
    "frequencies of other modes": Wrong(
        "sde.frequency", ValueError, lambda m: {"sde": parameter(frequency=m.ones(D + 1))}
    ),
    "temperatures of other heads": Wrong(
        "inverse_temperature",
        ValueError,
        lambda m: {"query": m.ones(3, N, 2 * D), "inverse_temperature": m.ones(2)},
    ),
    "anchor of no use": Wrong("anchor", ValueError, lambda m: {"anchor": m.ones(N, 2 * D)}),
    "anchor of other queries": Wrong(
        "anchor", ValueError, lambda m: {"anchor": m.ones(N + 1, 2 * D)}, "radial_tangential"
    ),
    "anchor left out": Wrong(
        "anchor", ValueError, lambda m: {"query": m.ones(N - 1, 2 * D)}, "radial_tangential"
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refusal_names_the_argument(subject: Subject, case: str) -> None:
    """Spec §8: TypeError for a wrong kind, ValueError for a misfit; the name is in back quotes."""
    wrong = WRONG[case]
    description = Description(
        form=wrong.form, queries=N, keys=N, modes=D, value_modes=D,
        layout="interleaved", dtype=subject.dtype,
    )  # fmt: skip
    problem = sample_problem(description)
    changes = wrong.make(Maker(subject, parameter_dtype(problem)))
    positional, options = arguments(send(problem, subject))
    given = dict(zip(("query", "key", "value", "sde"), positional, strict=True)) | options
    if callable(changes.get("sde")):
        changes["sde"] = changes["sde"](given["sde"])
    with pytest.raises(wrong.error, match=re.escape(f"`{wrong.name}`")):
        subject.attention(**(given | changes))
