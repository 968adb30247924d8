"""Arguments are not modified (spec §8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.descriptions import DTYPES, HALVES, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, leaves
from afa_conformance.runner import call, fetch, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

REGIMES = descriptions(
    size=["ordinary", "tiny", "huge", "distant"],
    times=["default", "regular", "irregular", "tied", "integers", "far"],
    dtype=None,
)


def copies(sent: DrawnProblem, subject: Subject) -> dict[str, NDArray[Any]]:
    return {
        name: np.array(fetch(x, subject))
        for name, x in leaves(sent).items()
        if not isinstance(x, float)
    }


@pytest.mark.asserts
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.fewer_examples(4)
@drawn(description=REGIMES)
def test_nothing_is_written(subject: Subject, dtype: str, description: Description) -> None:
    """Spec §8: tokens, times, mask and every parameter keep their bits.

    In every dtype: in that of the computation no cast makes a copy.
    """
    layout = "interleaved" if dtype in HALVES else description.layout
    sent = send(sample_problem(description.having(dtype=dtype, layout=layout)), subject)
    before = copies(sent, subject)
    for function in (subject.attention, subject.estimate):
        if function is not None:
            call(function, sent, subject)
    for name, x in copies(sent, subject).items():
        np.testing.assert_array_equal(x, before[name], name, strict=True)
        assert x.tobytes() == before[name].tobytes(), f"{name}: a zero of another sign"
