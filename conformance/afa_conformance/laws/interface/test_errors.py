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

OTHER_LIBRARIES = ("array_api_strict", "torch", "jax.numpy")
N, D = 4, 2


@dataclass(frozen=True)
class ArrayFactory:
    """Makes arrays of ones, of the library under test and of others, in one dtype."""

    subject: Subject
    dtype: str

    def ones(self, *shape: int, kind: str = "f") -> Any:
        dtypes = {"f": self.dtype, "c": "complex128" if self.dtype == "float64" else "complex64"}
        return self.subject.from_numpy(np.ones(shape, dtypes.get(kind, kind)))

    def foreign(self, *shape: int) -> Any:
        """Return an array of NumPy, or of any other library if NumPy is under test."""
        if not isinstance(self.ones(), np.ndarray):
            return np.ones(shape, self.dtype)
        for name in OTHER_LIBRARIES:
            try:
                return import_module(name).asarray(np.ones(shape, self.dtype))
            except ImportError:
                continue
        pytest.skip(f"none of {', '.join(OTHER_LIBRARIES)} is installed")


class Refusal(NamedTuple):
    """Unsuitable arguments: the one that the message names, the error, and what makes them."""

    name: str
    error: type[Exception]
    make: Callable[[ArrayFactory], dict[str, Any]]
    form: str = "isotropic"


def parameter(**changes: Any) -> Callable[[Any], Any]:
    return lambda sde: sde._replace(**changes)


REFUSALS = {
    "a list": Refusal("query", TypeError, lambda m: {"query": [[1.0, 2.0]] * N}),
    "integers": Refusal("query", TypeError, lambda m: {"query": m.ones(N, 2 * D, kind="i4")}),
    "one axis": Refusal("key", ValueError, lambda m: {"key": m.ones(2 * D)}),
    "channels of key": Refusal("key", ValueError, lambda m: {"key": m.ones(N, 2 * D + 2)}),
    "tokens of value": Refusal("value", ValueError, lambda m: {"value": m.ones(N + 1, 2 * D)}),
    "modes of value": Refusal(
        "value", ValueError, lambda m: {"value": m.ones(N, 2 * D + 2)}, "diagonal"
    ),
    "odd width": Refusal("value", ValueError, lambda m: {"value": m.ones(N, 2 * D + 1)}),
    "complex among real": Refusal("value", TypeError, lambda m: {"value": m.ones(N, D, kind="c")}),
    "another library": Refusal("key", TypeError, lambda m: {"key": m.foreign(N, 2 * D)}),
    "mask of another library": Refusal("mask", TypeError, lambda m: {"mask": m.foreign(N, N) > 0}),
    "mask of integers": Refusal("mask", TypeError, lambda m: {"mask": m.ones(N, N, kind="i4")}),
    "mask of numbers": Refusal("mask", TypeError, lambda m: {"mask": m.ones(N, N)}),
    "mask for other keys": Refusal(
        "mask", ValueError, lambda m: {"mask": m.ones(N, N + 1, kind="?")}
    ),
    "too many times": Refusal("key_times", ValueError, lambda m: {"key_times": m.ones(N + 1)}),
    "complex times": Refusal(
        "query_times", TypeError, lambda m: {"query_times": m.ones(N, kind="c")}
    ),
    "truths as times": Refusal(
        "key_times", TypeError, lambda m: {"key_times": m.ones(N, kind="?")}
    ),
    "unknown layout": Refusal("layout", ValueError, lambda m: {"layout": "thirds"}),
    "causal by number": Refusal("causal", TypeError, lambda m: {"causal": 1}),
    "no sde": Refusal("sde", TypeError, lambda m: {"sde": None}),
    "tuple for sde": Refusal("sde", TypeError, lambda m: {"sde": (0.1, 0.5, (0.2, 1.0, 1.0))}),
    "name of a weighting": Refusal("weighting", TypeError, lambda m: {"weighting": "student"}),
    "complex temperature": Refusal(
        "inverse_temperature", TypeError, lambda m: {"inverse_temperature": 1j}
    ),
    "text as decay": Refusal("sde.decay", TypeError, lambda m: {"sde": parameter(decay="slow")}),
    "integer decay": Refusal(
        "sde.decay", TypeError, lambda m: {"sde": parameter(decay=m.ones(1, kind="i4"))}
    ),
    "tuple for noise": Refusal(
        "sde.noise", TypeError, lambda m: {"sde": parameter(noise=(0.2, 1.0, 1.0))}
    ),
    "decays of other heads": Refusal(
        "sde.decay",
        ValueError,
        lambda m: {"query": m.ones(3, N, 2 * D), "sde": parameter(decay=m.ones(2))},
    ),
    "frequencies of other modes": Refusal(
        "sde.frequency", ValueError, lambda m: {"sde": parameter(frequency=m.ones(D + 1))}
    ),
    "temperatures of other heads": Refusal(
        "inverse_temperature",
        ValueError,
        lambda m: {"query": m.ones(3, N, 2 * D), "inverse_temperature": m.ones(2)},
    ),
    "anchor of no use": Refusal("anchor", ValueError, lambda m: {"anchor": m.ones(N, 2 * D)}),
    "anchor of other queries": Refusal(
        "anchor", ValueError, lambda m: {"anchor": m.ones(N + 1, 2 * D)}, "radial_tangential"
    ),
    "anchor left out": Refusal(
        "anchor", ValueError, lambda m: {"query": m.ones(N - 1, 2 * D)}, "radial_tangential"
    ),
}


@pytest.mark.asserts
@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_names_the_argument(subject: Subject, case: str) -> None:
    """Spec §8: TypeError for a wrong kind, ValueError for a misfit; the name is in back quotes."""
    refusal = REFUSALS[case]
    description = Description(
        form=refusal.form, queries=N, keys=N, modes=D, value_modes=D,
        layout="interleaved", dtype=subject.dtype,
    )  # fmt: skip
    problem = sample_problem(description)
    changes = refusal.make(ArrayFactory(subject, parameter_dtype(problem)))
    positional, options = arguments(send(problem, subject))
    valid = dict(zip(("query", "key", "value", "sde"), positional, strict=True)) | options
    if callable(changes.get("sde")):
        changes["sde"] = changes["sde"](valid["sde"])
    with pytest.raises(refusal.error, match=re.escape(f"`{refusal.name}`")):
        subject.attention(**(valid | changes))
