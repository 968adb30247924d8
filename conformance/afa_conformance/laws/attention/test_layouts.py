"""Complex arrays and both layouts of real pairs say the same (spec §8.1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given

import afa_core
from afa_conformance.closeness import EPS, assert_close
from afa_conformance.descriptions import Description, descriptions
from afa_conformance.realising import realise
from afa_conformance.sending import arguments, estimate, parts, send
from afa_core.backend import Backend

LAYOUTS = ("complex", "interleaved", "halves")


@given(description=descriptions())
def test_layouts_agree(backend: Backend, description: Description) -> None:
    """Spec §8.1: pairs interleaved, in halves, or complex numbers: one estimate."""
    problem = realise(description)
    first, *others = (estimate(replace(problem, layout=each), backend) for each in LAYOUTS)
    for mean, precision in others:
        assert_close(mean, first[0], 4 * EPS)
        for got, expected in zip(parts(precision), parts(first[1]), strict=True):
            assert_close(got, expected, 4 * EPS)


@given(description=descriptions())
def test_kind_and_dtype_of_value(backend: Backend, description: Description) -> None:
    """Spec §8.1: the output has the kind, width and dtype of value; precision is real."""
    problem = realise(description)
    for dtype in ("float64", "float32"):
        sent = send(problem, backend, dtype)
        positional, options = arguments(sent)
        mean, precision = afa_core.estimate(*positional, **options)
        assert mean.dtype == sent.value.dtype
        assert mean.shape[-2:] == (sent.query.shape[-2], sent.value.shape[-1])
        for each in parts(precision):
            assert str(backend.to_numpy(each).dtype) == dtype


@given(description=descriptions())
def test_inputs_are_left_alone(backend: Backend, description: Description) -> None:
    """Spec §8: nothing is written into the arguments."""
    problem = realise(description)
    sent = send(problem, backend)
    positional, options = arguments(sent)
    before = [np.array(backend.to_numpy(x)) for x in positional[:3]]
    afa_core.attention(*positional, **options)
    for x, kept in zip(positional[:3], before, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(x), kept)
