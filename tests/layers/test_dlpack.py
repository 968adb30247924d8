"""Arrays pass from library to library without copies, and attention of them is the same."""

import numpy as np
import pytest

import afa_core as afa

LIBRARIES = ("numpy", "torch", "jax")


@pytest.fixture
def libraries(host):
    """For each library, the functions that import an array by DLPack and create an array."""
    for name in LIBRARIES:
        host(name)
    import jax
    import torch

    return {
        "numpy": (np.from_dlpack, np.asarray),
        "torch": (torch.from_dlpack, torch.asarray),
        # JAX copies memory that is not aligned to 64 bytes
        "jax": (jax.numpy.from_dlpack, lambda x: jax.numpy.array(x, copy=True)),
    }


def attend(x, times, decay, frequency, process):
    sde = afa.IsotropicSDE(decay, frequency, afa.Noise(process, 1.0, 1.0))
    return afa.attention(x, x, x, sde, query_times=times, key_times=times)


@pytest.fixture(scope="module")
def run(host):
    """Attend by library; in JAX, by one program for all tests."""
    compiled = host("jax").compile(attend)
    return lambda name, *arrays: (compiled if name == "jax" else attend)(*arrays)


def pointer(x):
    for name in ("data_ptr", "unsafe_buffer_pointer"):
        if hasattr(x, name):
            return getattr(x, name)()
    return x.ctypes.data


def aligned(x):
    """Copy an array to memory that JAX imports without a copy."""
    buffer = np.empty(x.size + 8, x.dtype)
    start = -buffer.ctypes.data % 64 // x.itemsize
    buffer[start : start + x.size] = x.ravel()
    return buffer[start : start + x.size].reshape(x.shape)


@pytest.mark.parametrize("target", LIBRARIES)
@pytest.mark.parametrize("source", LIBRARIES)
def test_same_memory_and_same_results(source, target, libraries, run, tokens):
    create, convert = libraries[source][1], libraries[target][0]
    parameters = np.asarray(0.1), np.asarray([0.2, 1.0, 3.0]), np.asarray(0.7)
    arrays = [aligned(each) for each in (*tokens[:2], *parameters)]

    originals = [create(each) for each in arrays]
    imported = [convert(each) for each in originals]
    for a, b in zip(originals, imported, strict=True):
        assert pointer(a) == pointer(b)
        assert b.shape == a.shape
    expected = attend(*arrays)
    for name, own in ((source, originals), (target, imported)):
        np.testing.assert_allclose(np.asarray(run(name, *own)), expected, rtol=1e-12, atol=1e-14)


def test_writes_are_shared(libraries):
    array = np.zeros(3)
    imported = libraries["torch"][0](array)
    imported += 1.0
    assert np.array_equal(array, np.ones(3))
