"""Half precision is storage; the computation is single (spec §8.5)."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import pytest
from hypothesis import given

import afa_core
from afa_conformance.descriptions import Description, descriptions, fewer
from afa_conformance.problems import leaves, with_leaves
from afa_conformance.realising import realise
from afa_conformance.sending import TOKENS, arguments, parts, send
from afa_core.backend import Backend

SPACING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
LEAST = {"float16": 2.0**-24, "bfloat16": 2.0**-133}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@fewer(2)
@given(description=descriptions(layout=["interleaved", "halves"]))
def test_half_precision(backend: Backend, dtype: str, description: Description) -> None:
    """Spec §8.5: half inputs give the single-precision result, rounded once at the end."""
    sent = send(realise(description), backend, "float32")
    xp: Any = array_api_compat.array_namespace(sent.query)
    if not hasattr(xp, dtype):
        pytest.skip(f"{backend.name} has no {dtype}")
    tokens = {name: x for name, x in leaves(sent).items() if name in TOKENS}
    halves = {name: xp.astype(x, getattr(xp, dtype)) for name, x in tokens.items()}
    singles = {name: xp.astype(x, xp.float32) for name, x in halves.items()}
    results = []
    for data in (halves, singles):
        positional, options = arguments(with_leaves(sent, data))
        results.append(afa_core.estimate(*positional, **options))
    half, single = results
    assert half.mean.dtype == halves["value"].dtype
    got, expected = (
        np.asarray(backend.to_numpy(xp.astype(each.mean, xp.float32)), dtype=np.float64)
        for each in results
    )
    assert np.all(np.abs(got - expected) <= 0.51 * SPACING[dtype] * np.abs(expected) + LEAST[dtype])
    for own, other in zip(parts(half.precision), parts(single.precision), strict=True):
        assert own.dtype == xp.float32
        np.testing.assert_array_equal(backend.to_numpy(own), backend.to_numpy(other))
