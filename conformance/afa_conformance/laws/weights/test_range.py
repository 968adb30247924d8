"""A weight is between 0 and 1 and falls with the residual (spec §3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.oracles.weights import log_weight
from afa_conformance.subject import Subject
from afa_core import Gaussian, Rational, StudentT, Uniform

pytestmark = pytest.mark.needs("library", "float64")

KINDS = ["student", "gaussian", "rational", "uniform"]


def build(kind: str, dof: Any) -> Any:
    if kind in ("student", "rational"):
        return StudentT(dof) if kind == "student" else Rational(dof)
    return Gaussian() if kind == "gaussian" else Uniform()


@pytest.mark.parametrize("kind", KINDS)
@drawn(dof=st.floats(0.1, 1e6), modes=st.integers(1, 64), seed=st.integers(0, 2**32 - 1))
def test_weight(subject: Subject, kind: str, dof: float, modes: int, seed: int) -> None:
    """Spec §3: w(0) = 1, 0 < w ≤ 1, decreasing; log w by its formula, to 8 ε.

    `dof` may be a number or an array.
    """
    rng = np.random.default_rng(seed)
    distance = np.concatenate([[0.0], np.sort(10.0 ** rng.uniform(-12.0, 2.0, 15))])
    sent = subject.from_numpy(distance)
    dofs = np.full(distance.shape, dof)
    for own in (dof, subject.from_numpy(dofs)):
        got = np.asarray(subject.to_numpy(build(kind, own).log_weight(sent, modes)))
        assert got[0] == 0.0
        assert np.all(got <= 0.0)
        assert np.all(np.isfinite(got))
        if kind != "uniform":
            assert np.all(np.diff(got) < 0.0)
        expected = log_weight(build(kind, dof), distance, modes)
        size = np.where(expected == 0.0, 1.0, expected)
        subject.assert_close(got / size, expected / size, 8 * EPS)
