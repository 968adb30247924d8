"""Values are not copied to the host (spec §8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.runner import call, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core._array.arrays import device_of

WAYS = (
    "__array__", "__array_interface__", "__buffer__", "__dlpack__", "__bool__", "__complex__",
    "__float__", "__index__", "__int__", "item", "tolist", "numpy", "cpu",
)  # fmt: skip
"""Every way from an array to NumPy or to Python numbers, of those that a class has."""


class ValueRead(Exception):
    """Raised where a value is read."""


def refusing(name: str) -> Any:
    """Return a method that refuses to read a value."""

    def refuse(*_: object, **__: object) -> Any:
        msg = f"a value was read on the host by `{name}`"
        raise ValueRead(msg)

    return refuse


def close_ways(array: Any, patch: pytest.MonkeyPatch) -> bool:
    """Let every way out of the class of an array raise; return whether that can be done.

    Not for a class that cannot be changed, nor where NumPy reads memory past its methods.
    """
    try:
        for name in WAYS:
            if hasattr(type(array), name):
                patch.setattr(type(array), name, refusing(name))
        np.asarray(array)
    except ValueRead:
        return True
    except TypeError:
        return False
    return False


@pytest.mark.fewer_examples(10)
@drawn(description=descriptions(size=["ordinary", "distant"]))
def test_values_are_not_read(subject: Subject, description: Description) -> None:
    """Spec §8: attention does not wait for a device to return the values of an array.

    Every method that returns values raises. Where a library does not permit that, or arrays are in
    host memory, attention is compiled: traced arrays have no values.
    """
    if isinstance(subject.from_numpy(np.zeros((), dtype=bool)), np.ndarray):
        pytest.skip("NumPy is the host itself")
    compiles = subject.compile(subject.attention) is not subject.attention
    eager, compiled = (replace(subject, compiled=each) for each in (False, True))
    sent = send(sample_problem(description), subject)
    with pytest.MonkeyPatch.context() as patch:
        watched = str(device_of(sent.value)) != "cpu" and close_ways(sent.value, patch)
        judged = eager if watched else compiled
        for function in (subject.attention, subject.estimate):
            if function is not None and (watched or compiles):
                call(function, sent, judged)
    if not (watched or compiles):
        pytest.skip(f"arrays of {subject.name} cannot be watched")
