"""Decoding: what is refused and in which words, what is written where, and groups of queries."""

import copy
import gc
import pickle

import numpy as np
import pytest

import afa_core as afa
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


class Given:
    """Good arguments of the functions in one library, and arrays of another one."""

    def __init__(self, library, foreign):
        self.array, self.foreign = library.from_numpy, foreign.from_numpy
        self.sde = sdes(self.array)[0]
        self.token = self.array(normal(1, 4))
        self.cache = afa.DecodeCache.of(self.ones(3, 4), self.ones(3, 4), self.sde)

    def ones(self, *shape, dtype="float64"):
        return self.array(np.ones(shape, dtype))

    def step(self, **changes):
        x = self.token
        good = {"query": x, "key": x, "value": x, "sde": self.sde, "cache": self.cache}
        return afa.decode_step(**good | changes)

    def of(self, **changes):
        good = {"key": self.ones(3, 4), "value": self.ones(3, 4), "sde": self.sde}
        return afa.DecodeCache.of(**good | changes)

    def partial(self, **changes):
        x, times = self.ones(3, 4), self.ones(3)
        good = {"query": x, "key": x, "value": x, "sde": self.sde}
        return afa.partial_attention(**good | {"query_times": times, "key_times": times} | changes)


@pytest.fixture
def given(library, host):
    return Given(library, host("torch" if library.name == "numpy" else "numpy"))


NO_ARRAY = "`{}` must be an array of a library that follows the array API standard"
STATE = "`{}` must be a PartialAttention, or a RadialTangential of two, got {}. Make it with"
WRONG = {
    "no cache": (
        lambda g: g.step(cache=None),
        TypeError,
        "`cache` must be of type DecodeCache, got NoneType. Construct one.",
    ),
    "arrays for a cache": (
        lambda g: g.step(cache=(g.token, g.token)),
        TypeError,
        "`cache` must be of type DecodeCache, got tuple. Construct one.",
    ),
    "foreign cache": (
        lambda g: g.step(cache=g.cache._replace(key=g.foreign(np.ones((3, 4))))),
        TypeError,
        "`cache.key` must come from the same array library as `key`",
    ),
    "foreign token": (
        lambda g: g.step(key=g.foreign(np.ones((1, 4)))),
        TypeError,
        "`key` must come from the same array library as `query`",
    ),
    "cache of other modes": (
        lambda g: g.step(cache=g.of(value=g.ones(3, 6), sde=g.sde._replace(value_frequency=0.0))),
        ValueError,
        "`value` must have 3 modes like those in `cache`, got 2. Pass the cache that these tokens",
    ),
    "cache of another batch": (
        lambda g: g.step(cache=g.of(key=g.ones(2, 3, 4)), query=g.ones(5, 1, 4)),
        ValueError,
        "leading axes (batch, heads) must broadcast against each other, got",
    ),
    "queries without keys": (
        lambda g: g.step(query=g.ones(2, 4)),
        ValueError,
        "`query` must have shape (..., 1, 4) to match the tokens of `key`, got (2, 4).",
    ),
    "no token": (
        lambda g: g.step(query=g.ones(0, 4), key=g.ones(0, 4), value=g.ones(0, 4)),
        ValueError,
        "`key` must have a token at least, got shape (0, 4). Leave out the step.",
    ),
    "no room": (
        lambda g: g.step(cache=g.of(capacity=3)),
        ValueError,
        "`cache` must have room for 1 more tokens, got 3 of 3 used. Make it with a larger",
    ),
    "layout": (
        lambda g: g.step(layout="quarters"),
        ValueError,
        "`layout` must be one of 'interleaved', 'halves', got 'quarters'.",
    ),
    "number of times": (
        lambda g: g.step(time=g.ones(2)),
        ValueError,
        "`time` must have shape (..., 1) to match the tokens of `key`, got (2,).",
    ),
    "one number for two times": (
        lambda g: g.step(query=g.ones(2, 4), key=g.ones(2, 4), value=g.ones(2, 4), time=3.0),
        TypeError,
        NO_ARRAY.format("time") + " (NumPy, PyTorch, JAX, CuPy, …), got float.",
    ),
    "complex time": (
        lambda g: g.step(time=g.ones(1, dtype="complex128")),
        TypeError,
        "`time` must have a real floating or signed integer dtype, got complex128. Cast it first.",
    ),
    "mask of numbers": (
        lambda g: g.step(mask=g.ones(1)),
        TypeError,
        "`mask` must be boolean (True is kept), got float64. Compare it with something first.",
    ),
    "mask of another library": (
        lambda g: g.step(mask=g.foreign(np.ones(1, bool))),
        TypeError,
        "`mask` must come from the same array library as `key`",
    ),
    "superfluous anchor": (
        lambda g: g.step(anchor=g.token),
        ValueError,
        "`anchor` belongs to RadialTangentialSDE only, got IsotropicSDE. Leave it out.",
    ),
    "unknown option": (
        lambda g: afa.estimate_step(*[g.token] * 3, g.sde, g.cache, causal=True),
        TypeError,
        "options must be among `weighting`, `inverse_temperature`, `time`, `mask`, `anchor`, "
        "`layout`, got `causal`. Correct the name.",
    ),
    "list of keys": (lambda g: g.of(key=[[1.0, 2.0]]), TypeError, NO_ARRAY.format("key")),
    "list of keys for an empty cache": (
        lambda g: afa.DecodeCache.empty([[1.0, 2.0]], g.token, g.sde),
        TypeError,
        NO_ARRAY.format("key"),
    ),
    "integer keys": (
        lambda g: g.of(key=g.ones(3, 4, dtype="int64")),
        TypeError,
        "`key` must have a real or complex floating dtype, got int64. Cast it first.",
    ),
    "odd keys": (
        lambda g: g.of(key=g.ones(3, 3)),
        ValueError,
        "`key` must have an even last axis, (re, im) pairs of complex modes, got shape (3, 3).",
    ),
    "times of a prompt": (
        lambda g: g.of(times=g.ones(2)),
        ValueError,
        "`times` must have shape (..., 3) to match the tokens of `key`, got (2,).",
    ),
    "no capacity": (
        lambda g: g.of(capacity=0),
        ValueError,
        "`capacity` must be a positive number of tokens or None, got 0. Leave it out",
    ),
    "capacity by an array": (
        lambda g: g.of(capacity=g.ones(1)),
        ValueError,
        "`capacity` must be a positive number of tokens or None, got",
    ),
    "prompt without room": (
        lambda g: g.of(capacity=2),
        ValueError,
        "`cache` must have room for 3 more tokens, got 0 of 2 used.",
    ),
    "part without times": (
        lambda g: g.partial(key_times=None),
        ValueError,
        "`key_times` must be given, got None: a part of the keys does not tell its times.",
    ),
    "part without an anchor": (
        lambda g: g.partial(sde=sdes(g.array)[2]),
        ValueError,
        "`anchor` must be given, got None: pass the direction of each query's estimate",
    ),
    "no state": (
        lambda g: afa.merge(g.partial(), None),
        TypeError,
        STATE.format("b", "NoneType"),
    ),
    "estimate for a state": (
        lambda g: afa.finish(afa.estimate(*[g.ones(3, 4)] * 3, g.sde)),
        TypeError,
        STATE.format("state", "Estimate"),
    ),
    "states of two forms": (
        lambda g: afa.merge(g.partial(), g.partial(sde=sdes(g.array)[2], anchor=g.ones(3, 4))),
        TypeError,
        "`b` must be a PartialAttention like `a`, got RadialTangential. Use the same `sde`",
    ),
    "states of other queries": (
        lambda g: afa.merge(
            g.partial(), g.partial(query=g.ones(2, 4), query_times=g.ones(2))
        ),
        ValueError,
        "the two states must broadcast against each other, got `a.peak` (3, 1), `b.peak` (2, 1).",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=[*WRONG])
def test_what_is_refused(given, wrong):
    call, error, message = wrong
    with pytest.raises(error) as caught:
        call(given)
    assert type(caught.value) is error
    assert message in str(caught.value)


@pytest.mark.parametrize("form", range(3))
def test_groups_of_queries_share_keys(library, call, form):
    """Heads in groups: the cache is not repeated, and gives what repeating it would."""
    array = library.from_numpy
    sde = sdes(array)[form]
    query, key, value = (array(normal(2, 3, g, 5, 4, seed=g)) for g in (4, 1, 1))
    wide = [array(np.repeat(library.to_numpy(x), 4, axis=2)) for x in (key, value)]

    def decode(query, key, value):
        cache = afa.DecodeCache.of(key[..., :3, :], value[..., :3, :], sde, capacity=5)
        rows = []
        for token in (3, 4):
            own = (x[..., token : token + 1, :] for x in (query, key, value))
            out, cache = afa.decode_step(*own, sde, cache)
            rows.append(out)
        return rows, cache.key

    rows, kept = call(decode, query, key, value)
    expected, _ = call(decode, query, *wide)
    assert kept.shape == (2, 3, 1, 5, 4)
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(
            library.to_numpy(row), library.to_numpy(other), rtol=1e-12, atol=1e-14
        )


@pytest.fixture(params=["numpy", "torch"])
def written(request, host):
    """A library whose buffers are written to, and a cache with room."""
    library = host(request.param)
    array = library.from_numpy
    sde = sdes(array)[0]
    x = array(normal(3, 4))
    return library, sde, x, afa.DecodeCache.of(x, x, sde, capacity=8)


def test_room_is_written_to_once(written):
    library, sde, x, cache = written
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
def test_copies_have_lives_of_their_own(written, clone):
    library, sde, x, cache = written
    own = clone(cache)
    token = x[:1, :]
    one, _ = afa.decode_step(token, token, token, sde, own)
    other, _ = afa.decode_step(token, token, token, sde, cache)
    np.testing.assert_array_equal(library.to_numpy(one), library.to_numpy(other))


def test_buffers_are_forgotten():
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


def test_torch_in_and_out_of_inference_mode(host):
    host("torch")
    torch = pytest.importorskip("torch")
    sde = sdes(torch.asarray)[0]
    x = torch.asarray(normal(4, 4))
    with torch.inference_mode():
        cache = afa.DecodeCache.of(x[:2], x[:2], sde, capacity=4)
        _, cache = afa.decode_step(x[2:3], x[2:3], x[2:3], sde, cache)
    out, cache = afa.decode_step(x[3:], x[3:], x[3:], sde, cache)
    torch.testing.assert_close(out, afa.attention(x, x, x, sde)[3:])


# dynamo makes an instance of the function that it follows, which torch deprecates
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_compiles_a_step(host):
    host("torch")
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    sde = sdes(torch.asarray)[0]
    x = torch.asarray(normal(4, 4))
    cache = afa.DecodeCache.of(x[:3], x[:3], sde, capacity=4)

    def step(token, cache):
        return afa.decode_step(token, token, token, sde, cache)

    out, after = torch.compile(step, fullgraph=True, backend="aot_eager")(x[3:], cache)
    torch.testing.assert_close(out, step(x[3:], cache)[0])
    assert after.used == 4


def test_half_precision_is_kept_in_single(library, call):
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
