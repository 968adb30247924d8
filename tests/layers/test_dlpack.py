"""Arrays go from library to library in the same memory, and attention says the same of them."""

import numpy as np
import pytest

import afa_core as afa

LIBRARIES = ("numpy", "torch", "jax")


@pytest.fixture
def libraries(host):
    """How each library takes an array by DLPack, and makes one of its own."""
    for name in LIBRARIES:
        host(name)
    import jax
    import torch

    return {
        "numpy": (np.from_dlpack, np.asarray),
        "torch": (torch.from_dlpack, torch.asarray),
        # JAX copies memory that does not lie at multiples of 64 bytes
        "jax": (jax.numpy.from_dlpack, lambda x: jax.numpy.array(x, copy=True)),
    }


def attend(x, times, decay, frequency, process):
    sde = afa.IsotropicSDE(decay, frequency, afa.Noise(process, 1.0, 1.0))
    return afa.attention(x, x, x, sde, query_times=times, key_times=times)


@pytest.fixture(scope="module")
def run(host):
    """Attend, in JAX by one program for all tests."""
    compiled = host("jax").compile(attend)
    return lambda name, *given: (compiled if name == "jax" else attend)(*given)


def pointer(x):
    for name in ("data_ptr", "unsafe_buffer_pointer"):
        if hasattr(x, name):
            return getattr(x, name)()
    return x.ctypes.data


def aligned(x):
    """Copy an array to where JAX takes it as it is."""
    room = np.empty(x.size + 8, x.dtype)
    start = -room.ctypes.data % 64 // x.itemsize
    room[start : start + x.size] = x.ravel()
    return room[start : start + x.size].reshape(x.shape)


@pytest.mark.parametrize("target", LIBRARIES)
@pytest.mark.parametrize("source", LIBRARIES)
def test_same_memory_and_same_results(source, target, libraries, run, tokens):
    make, take = libraries[source][1], libraries[target][0]
    parameters = np.asarray(0.1), np.asarray([0.2, 1.0, 3.0]), np.asarray(0.7)
    given = [aligned(each) for each in (*tokens[:2], *parameters)]

    theirs = [make(each) for each in given]
    ours = [take(each) for each in theirs]
    for a, b in zip(theirs, ours, strict=True):
        assert pointer(a) == pointer(b)
        assert b.shape == a.shape
    want = attend(*given)
    for name, arrays in ((source, theirs), (target, ours)):
        np.testing.assert_allclose(np.asarray(run(name, *arrays)), want, rtol=1e-12, atol=1e-14)


def test_what_one_writes_the_other_reads(libraries):
    ours = np.zeros(3)
    theirs = libraries["torch"][0](ours)
    theirs += 1.0
    assert np.array_equal(ours, np.ones(3))
