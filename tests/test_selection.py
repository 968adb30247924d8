"""Sequences of a batch: all arrays of a cache have the axis of the batch, or one of length 1."""

import itertools

import numpy as np
import pytest

import afa_core as afa

NOISE = afa.Noise(0.2, 1.0, 0.5)
BATCH, HEADS, FIRST, TOKENS = 3, 2, 4, 6
INDICES = [2, 0, 2]
FORMS = ("isotropic", "diagonal", "radial-tangential")
TIMES = {
    "default": None,
    "shared": np.arange(TOKENS) ** 1.5,
    "of heads": np.arange(TOKENS) * np.asarray([[1.0], [2.0]]),
    "of sequences": np.arange(TOKENS) * np.asarray([1.0, 2.0, 0.5])[:, None, None],
}
MASKS = {
    "none": None,
    "shared": np.arange(TOKENS) != 1,
    "of sequences": np.arange(TOKENS) != np.asarray([1, 0, 2])[:, None, None],
}
KINDS = [
    pytest.param(*each, id="-".join(map(str, each)))
    for each in itertools.product(FORMS, [False, True], TIMES, MASKS)
]
kinds = pytest.mark.parametrize(("form", "correlated", "times", "mask"), KINDS)


def model(form, array):
    modes, decay = array(np.asarray([0.3, -1.0])), array(np.asarray([0.1, 0.4]))
    return {
        "isotropic": afa.IsotropicSDE(decay, modes, NOISE),
        "diagonal": afa.DiagonalSDE(array(np.asarray([[0.1, 0.4], [0.2, 0.3]])), modes, NOISE),
        "radial-tangential": afa.RadialTangentialSDE(decay, modes, NOISE, NOISE),
    }[form]


class Decoder:
    """Tokens of a batch on a library, and their decoding."""

    def __init__(self, library, form, correlated, times, mask, rows=slice(None)):
        def given(x, cut=True):
            x = x[rows] if cut and x is not None and x.ndim == 3 else x
            return None if x is None else library.from_numpy(x)

        self.sde, self.correlated = model(form, library.from_numpy), correlated
        tokens = np.random.default_rng(0).standard_normal((BATCH, HEADS, TOKENS, 4))[rows]
        self.tokens = library.from_numpy(tokens)
        self.times, self.mask = given(TIMES[times]), given(MASKS[mask])

    def part(self, name, tokens):
        x = getattr(self, name)
        return None if x is None else x[..., tokens]

    def prompt(self, **options):
        first, key = slice(FIRST), self.tokens[..., :FIRST, :]
        options |= {"times": self.part("times", first), "mask": self.part("mask", first)}
        return afa.DecodeCache.of(key, key, self.sde, correlated=self.correlated, **options)

    def step(self, cache, number=FIRST):
        now = slice(number, number + 1)
        own = self.tokens[..., now, :]
        options = {"time": self.part("times", now), "mask": self.part("mask", now)}
        return afa.decode_step(
            own, own, own, self.sde, cache, correlated=self.correlated, **options
        )


def leaves(cache):
    """Return the arrays of a cache by name, without those that have no axes."""
    state = () if cache.state is None else cache.state
    flat = [
        *zip(cache._fields, cache, strict=True),
        *((f"state {i}", x) for i, x in enumerate(state)),
    ]
    named = {name: x for name, x in flat if not isinstance(x, tuple)}
    named |= {f"kept {i}": x for i, x in enumerate(state[1] if state else ())}
    return {name: x for name, x in named.items() if getattr(x, "ndim", 0)}


def tree_map(name):
    """Return how users of a library apply a function to the leaves of a tree."""
    if name == "jax":
        return pytest.importorskip("jax").tree_util.tree_map
    return pytest.importorskip("torch").utils._pytree.tree_map


def indexed(x, indices):
    """Index a leaf; the numbers of tokens, which have no axes, stay."""
    return x[indices] if getattr(x, "ndim", 0) else x


@kinds
def test_all_arrays_have_the_axis_of_the_batch(host, form, correlated, times, mask):
    decoder = Decoder(host("numpy"), form, correlated, times, mask)
    cache = decoder.prompt()
    for each in (cache, decoder.step(cache)[1]):
        for name, x in leaves(each).items():
            assert x.ndim == 4, name
            assert x.shape[0] in (1, BATCH), name


@kinds
def test_indexed_leaves_of_pytorch(host, form, correlated, times, mask):
    check_indexed_leaves(host("torch"), form, correlated, times, mask)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("times", "mask"), [("default", "shared"), ("of sequences", "none")])
def test_indexed_leaves_of_jax(host, form, times, mask):
    check_indexed_leaves(host("jax"), form, times == "default", times, mask)


def check_indexed_leaves(library, *options):
    """Check that the next step after indexing every leaf is right, if there is no error before."""
    cache = Decoder(library, *options).prompt()
    chosen = Decoder(library, *options, rows=INDICES)
    expected = chosen.step(chosen.prompt())[0]
    indices = library.from_numpy(np.asarray(INDICES))
    try:
        own = tree_map(library.name)(lambda x: indexed(x, indices), cache)
    except IndexError:
        assert library.name == "torch"  # JAX clips indices: what has length 1 is repeated
        assert any(x.shape[0] == 1 for x in leaves(cache).values())
    else:
        close(library, chosen.step(own)[0], expected)
    close(library, chosen.step(afa.select(cache, indices))[0], expected)


def close(library, found, expected):
    found, expected = (library.to_numpy(x) for x in (found, expected))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_one_prompt_becomes_beams(library):
    """The tokens of one sequence are repeated; what all beams share is not."""
    array = library.from_numpy
    one = Decoder(library, "isotropic", True, "default", "shared", rows=[0])
    beams = Decoder(library, "isotropic", True, "default", "shared", rows=[0, 0])
    cache = afa.select(one.prompt(), array(np.asarray([0, 0])))
    assert {name: x.shape[0] for name, x in leaves(cache).items()} == {
        name: 2 if name in ("key", "value", "key2") else 1 for name in leaves(cache)
    }
    close(library, beams.step(cache)[0], beams.step(beams.prompt())[0])


def test_selection_after_eviction(library):
    array, sde = library.from_numpy, model("isotropic", library.from_numpy)
    tokens = array(np.random.default_rng(1).standard_normal((BATCH, 1, 400, 4)))
    cache = afa.evict(afa.DecodeCache.of(tokens, tokens, sde, correlated=True), sde, 1e-6)
    assert cache.evicted is not None
    assert cache.evicted.ndim == 4
    new = tokens[..., :1, :]
    rows = library.to_numpy(afa.decode_step(new, new, new, sde, cache, correlated=True)[0])
    own = afa.select(cache, array(np.asarray(INDICES)))
    new = array(library.to_numpy(new)[INDICES])
    found = afa.decode_step(new, new, new, sde, own, correlated=True)[0]
    np.testing.assert_allclose(library.to_numpy(found), rows[INDICES], rtol=1e-12)


def test_other_caches_are_not_changed(library):
    decoder = Decoder(library, "diagonal", False, "default", "none")
    cache = decoder.prompt()
    expected = decoder.step(cache)[0]
    decoder.step(afa.select(cache, library.from_numpy(np.asarray([2, 1, 0]))))
    close(library, decoder.step(cache)[0], expected)


def test_wrong_indices(library):
    array = library.from_numpy
    cache = Decoder(library, "isotropic", False, "default", "none").prompt()
    with pytest.raises(TypeError, match="`indices` must be integers, got float64"):
        afa.select(cache, array(np.ones(2)))
    with pytest.raises(ValueError, match=r"`indices` must have shape \(k,\), got \(1, 2\)"):
        afa.select(cache, array(np.ones((1, 2), dtype=int)))
    with pytest.raises(TypeError, match="`indices` must be an array"):
        afa.select(cache, [0, 1])
    with pytest.raises(TypeError, match="`cache` must be"):
        afa.select((), array(np.ones(2, dtype=int)))
    alone = array(np.ones((4, 2)))
    sde = afa.IsotropicSDE(0.1, 1.0, NOISE)
    with pytest.raises(ValueError, match="`cache` must have a batch axis"):
        afa.select(afa.DecodeCache.of(alone, alone, sde), array(np.ones(2, dtype=int)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("times", ["default", "of heads", "of sequences"])
def test_influence_of_keys_has_equally_many_leading_axes(host, form, causal, times):
    library = host("numpy")
    given = np.arange(TOKENS) * np.ones((1, 1, 1)) if times == "default" else TIMES[times]
    own = library.from_numpy(given)
    found = afa.key_influence(own, own, model(form, library.from_numpy), causal=causal)
    trailing = {"query_level": 3, "key_level": 3, "variance": 2, "missing": 2}
    for name, x in found._asdict().items():
        if x is not None:
            assert x.ndim - trailing.get(name, 1) == max(given.ndim - 1, 1), name
            assert given.ndim < 3 or x.shape[0] in (1, given.shape[0])
