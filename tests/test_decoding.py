"""Decoding: groups of queries, buffers that are written in place, copies, compilers."""

import copy
import gc
import pickle

import numpy as np
import pytest
from array_api_compat import array_namespace

import afa_core as afa
from afa_core.decoding.products import dot_products
from afa_core.decoding.storage import BufferOwnership

NOISE = afa.Noise(0.2, 1.0, 1.0)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def sdes(array):
    """The forms with d = 2 modes."""
    modes = array(np.asarray([0.3, -1.0]))
    return [
        afa.IsotropicSDE(0.1, modes, NOISE),
        afa.DiagonalSDE(array(np.asarray([0.1, 0.4])), modes, NOISE),
        afa.RadialTangentialSDE(0.1, modes, NOISE, NOISE._replace(process=0.6)),
    ]


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("form", range(3))
def test_groups_of_queries_share_keys(library, call, form, correlated):
    """Grouped heads: the cache is not repeated, and the result is that of repeating it."""
    array = library.from_numpy
    sde = sdes(array)[form]
    query, key, value = (array(normal(2, 3, g, 5, 4, seed=g)) for g in (4, 1, 1))
    wide = [array(np.repeat(library.to_numpy(x), 4, axis=2)) for x in (key, value)]

    def decode(query, key, value):
        own = (x[..., :3, :] for x in (key, value))
        cache = afa.DecodeCache.of(*own, sde, capacity=5, correlated=correlated)
        rows = []
        for token in (3, 4):
            own = (x[..., token : token + 1, :] for x in (query, key, value))
            out, cache = afa.decode_step(*own, sde, cache, correlated=correlated)
            rows.append(out)
        return rows, cache.key

    rows, keys = call(decode, query, key, value)
    expected, _ = call(decode, query, *wide)
    assert keys.shape == (2, 3, 1, 5, 4)
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(
            library.to_numpy(row), library.to_numpy(other), rtol=1e-12, atol=1e-14
        )


@pytest.fixture(params=["numpy", "torch"])
def cached(request, host):
    """A library whose buffers are written in place, a model, tokens, and a cache with room."""
    library = host(request.param)
    array = library.from_numpy
    sde = sdes(array)[0]
    x = array(normal(3, 4))
    return library, sde, x, afa.DecodeCache.of(x, x, sde, capacity=8)


def test_free_slots_are_written_once(cached):
    library, sde, x, cache = cached
    token = x[:1, :]
    _, one = afa.decode_step(token, token, token, sde, cache)
    _, other = afa.decode_step(-token, -token, -token, sde, cache)
    assert one.key is cache.key
    assert other.key is not cache.key
    np.testing.assert_array_equal(
        library.to_numpy(one.key[3, :]), -library.to_numpy(other.key[3, :])
    )
    _, further = afa.decode_step(token, token, token, sde, other)
    assert further.key is other.key


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_share_no_buffer(cached, clone):
    library, sde, x, cache = cached
    own = clone(cache)
    token = x[:1, :]
    one, _ = afa.decode_step(token, token, token, sde, own)
    other, _ = afa.decode_step(token, token, token, sde, cache)
    np.testing.assert_array_equal(library.to_numpy(one), library.to_numpy(other))


def test_ownership_ends_with_the_buffer():
    ownership = BufferOwnership()
    buffer = np.zeros((4, 2))
    ownership.record(buffer, 1)
    assert ownership.reserve(buffer, 1, 3)
    assert not ownership.reserve(buffer, 1, 2)
    assert not ownership.reserve(buffer, 3, 5)
    assert not ownership.reserve(buffer[:], 3, 4)
    del buffer
    gc.collect()
    assert not ownership._taken


def test_torch_in_and_out_of_inference_mode(torch):
    sde = sdes(torch.asarray)[0]
    x = torch.asarray(normal(4, 4))
    with torch.inference_mode():
        cache = afa.DecodeCache.of(x[:2], x[:2], sde, capacity=4)
        _, cache = afa.decode_step(x[2:3], x[2:3], x[2:3], sde, cache)
    out, cache = afa.decode_step(x[3:], x[3:], x[3:], sde, cache)
    torch.testing.assert_close(out, afa.attention(x, x, x, sde)[3:])


# dynamo makes an instance of the function that it follows, which torch deprecates.
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_compiles_a_step(torch, correlated):
    sde = sdes(torch.asarray)[0]
    x = torch.asarray(normal(4, 4))
    cache = afa.DecodeCache.of(x[:3], x[:3], sde, capacity=4, correlated=correlated)

    def step(token, cache):
        return afa.decode_step(token, token, token, sde, cache, correlated=correlated)

    out, after = torch.compile(step, fullgraph=True, backend="aot_eager")(x[3:], cache)
    torch.testing.assert_close(out, step(x[3:], cache)[0])
    assert after.used == 4


def test_half_precision_is_cached_in_single(library, call):
    array = library.from_numpy
    sde = afa.IsotropicSDE(0.1, array(np.asarray([0.3, -1.0], "float32")), NOISE)
    if library.name == "array_api_strict":
        pytest.skip("it has no half precision")
    x = array(normal(3, 4).astype("float16"))

    def decode(x):
        cache = afa.DecodeCache.of(x[:2, :], x[:2, :], sde, capacity=3)
        return afa.decode_step(x[2:, :], x[2:, :], x[2:, :], sde, cache)

    out, cache = call(decode, x)
    assert out.dtype == x.dtype
    assert "float32" in str(cache.key.dtype)


@pytest.mark.parametrize("correlated", [False, True])
def test_jax_scans_over_steps(host, correlated):
    """An empty cache has the shapes of later ones: parameters per head, times and masks per row."""
    host("jax")
    jax = pytest.importorskip("jax")
    heads = jax.numpy.asarray([0.1, 0.2, 0.3])
    sde = afa.IsotropicSDE(heads, 0.5, afa.Noise(heads, 1.0, 1.0))
    x = jax.numpy.asarray(normal(2, 3, 4, 4))
    times = jax.numpy.cumsum(abs(x[:, :1, :, 0]), axis=-1)
    mask = x[:, :1, :, 1] < 0.5

    def step(cache, token):
        x, time, mask = (each[..., None, :] for each in token)
        time, mask = time[..., 0], mask[..., 0]
        options = {"time": time, "mask": mask, "correlated": correlated}
        out, cache = afa.decode_step(x, x, x, sde, cache, **options)
        return cache, out[..., 0, :]

    @jax.jit
    def decode(*arrays):
        kinds = {"times": times, "mask": mask, "correlated": correlated}
        cache = afa.DecodeCache.empty(x, x, sde, capacity=4, **kinds)
        return jax.numpy.stack(jax.lax.scan(step, cache, arrays)[1], axis=-2)

    by_token = (jax.numpy.moveaxis(each, 2, 0) for each in (x, times[..., None], mask[..., None]))
    options = {"query_times": times, "key_times": times, "mask": mask[..., None, :]}
    expected = afa.attention(x, x, x, sde, correlated=correlated, **options)
    np.testing.assert_allclose(decode(*by_token), expected, rtol=1e-12, atol=1e-14)


def test_products_of_no_head_with_shared_keys() -> None:
    """Queries of no head that share keys: no row is folded into none."""
    query, key = np.zeros((1, 0, 2, 3, 4)), np.zeros((1, 0, 1, 5, 4))
    assert dot_products(query, key, xp=array_namespace(query)).shape == (1, 0, 2, 3, 5)
