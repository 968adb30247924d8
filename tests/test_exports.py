"""Functions exported by the conformance suite: programs of one shape each, run without Python."""

import numpy as np
import pytest

from afa_conformance.exports import EXPORTERS, exporting
from afa_core.backend import load


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exported_program_is_run_for_every_call_of_its_shapes(name, host):
    backend = exporting(host(name))
    traced = []

    def function(x, y):
        traced.append(x.shape)
        return (x * y, None), x + 1.0

    program = backend.compile(function)
    for scale in (1.0, 2.0):
        x = backend.from_numpy(np.asarray([1.0, 2.0], "float32") * scale)
        (product, nothing), more = program(x, x)
        assert nothing is None
        np.testing.assert_array_equal(backend.to_numpy(product), np.asarray([1.0, 4.0]) * scale**2)
        np.testing.assert_array_equal(backend.to_numpy(more), np.asarray([1.0, 2.0]) * scale + 1.0)
    calls = len(traced)
    program(x, x)
    assert len(traced) == calls
    program(x[:1], x[:1])
    assert len(traced) > calls


def test_a_library_that_exports_nothing():
    with pytest.raises(ValueError, match="numpy cannot be exported: choose one of torch, jax"):
        exporting(load("numpy"))
