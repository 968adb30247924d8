"""Values are not copied to the host (spec §8)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem
from afa_conformance.runner import call, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import VALUELESS, Subject
from afa_core._array.arrays import device_of

READERS = (
    "__array__", "__array_interface__", "__buffer__", "__dlpack__", "__bool__", "__complex__",
    "__float__", "__index__", "__int__", "item", "tolist", "numpy", "cpu",
)  # fmt: skip
"""Methods by which an array may become NumPy's or Python numbers, where its class has them."""


class ValueReadError(Exception):
    """Raised by a method that would read a value on the host."""


def refusing(name: str) -> Any:
    """Return a method that raises instead of reading a value."""

    def refuse(*_: object, **__: object) -> Any:
        msg = f"a value was read on the host by `{name}`"
        raise ValueReadError(msg)

    return refuse


def forbid_reading(array: Any, patch: pytest.MonkeyPatch) -> bool:
    """Make methods that read values raise; return whether that is possible.

    Not for a class that cannot be changed, nor where NumPy reads memory without its methods.
    """
    try:
        for name in READERS:
            if hasattr(type(array), name):
                patch.setattr(type(array), name, refusing(name))
        np.asarray(array)
    except ValueReadError:
        return True
    except TypeError:
        return False
    return False


@pytest.mark.asserts
@pytest.mark.one_at_a_time
@pytest.mark.fewer_examples(10)
@drawn(description=descriptions(size=["ordinary", "distant"]))
def test_values_are_not_read(subject: Subject, description: Description) -> None:
    """Spec §8: attention does not wait for a device to return the values of an array.

    Every method that returns values raises. Where a library does not permit that, or arrays are in
    host memory, they are sent to a device that holds no values, or attention is compiled: traced
    arrays have none. The library itself watches too where it can, see `Backend.no_transfers`.
    """
    if isinstance(subject.from_numpy(np.zeros((), dtype=bool)), np.ndarray):
        pytest.skip("NumPy is the host itself")
    if subject.implementation == "fused":
        pytest.skip("compiled loops run on the host itself")
    problem, eager = sample_problem(description), replace(subject, compiled=False, batch=0)
    sent = send(problem, eager)
    with pytest.MonkeyPatch.context() as patch:
        if str(device_of(sent.value)) != "cpu" and forbid_reading(sent.value, patch):
            call_both(eager, sent)
            return
    if without_values := VALUELESS.get(subject.name):
        eager = replace(eager, device=without_values)
        call_both(eager, send(problem, eager))
    elif subject.compile(subject.attention) is not subject.attention:
        call_both(replace(eager, compiled=True), sent)
    else:
        pytest.skip(f"arrays of {subject.name} cannot be watched")


def call_both(subject: Subject, sent: DrawnProblem) -> None:
    """Run attention and, if there is one, the estimate."""
    watched = subject.backend.no_transfers or nullcontext
    for function in filter(None, (subject.attention, subject.estimate)):
        with watched():
            call(function, sent, subject)
