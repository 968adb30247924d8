"""Eviction of old tokens from a cache of correlated keys: what it changes, and what it keeps."""

import numpy as np
import pytest

import afa_core as afa
from afa_core.backend import load

HEADS, WIDTH = 3, 4
PROCESS = np.asarray([0.2, 0.5, 5.0])
FORMS = ("isotropic", "diagonal", "radial_tangential")
WEIGHTING = afa.StudentT(4.0)


def normalised(*shape, seed=0):
    """Tokens of length 1."""
    x = np.random.default_rng(seed).standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def model(array=np.asarray, form="isotropic", decay=0.01):
    noise = afa.Noise(array(PROCESS), 1.0, 0.5)
    if form == "diagonal":
        each = noise._replace(process=array(np.stack([PROCESS, 2.0 * PROCESS], axis=-1)))
        return afa.DiagonalSDE(decay, array(np.asarray([0.3, 0.1])), each)
    if form == "radial_tangential":
        return afa.RadialTangentialSDE(decay, 0.3, noise, noise._replace(measurement=0.7))
    return afa.IsotropicSDE(decay, 0.3, noise)


def cache_of(key, value, sde, **options):
    return afa.DecodeCache.of(key, value, sde, correlated=True, **options)


def step(x, sde, cache, **options):
    options = {"weighting": WEIGHTING, "correlated": True, "tolerance": 0.0, **options}
    return afa.estimate_step(*x, sde, cache, **options)


def largest_norm(x, form):
    """The largest norm of an estimate or value, of its modes in the diagonal form."""
    if form == "diagonal":
        x = np.reshape(x, (*x.shape[:-1], -1, 2))
    return np.max(np.linalg.norm(x, axis=-1))


def adversary(far=290, near=10):
    """A query that is like all far keys and opposite to near ones, whose values are opposite."""
    query = normalised(HEADS, 1, WIDTH)
    sign = np.where(np.arange(far + near) < far, 1.0, -1.0)[:, None]
    key, value = query * sign, np.ones((HEADS, 1, WIDTH)) * sign
    return (query, key[:, -1:], value[:, -1:]), key[:, :-1], value[:, :-1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("tolerance", [0.02, 0.4])
def test_error_below_the_bound(form, decay, tolerance):
    """With a bound of their norms no query needs what has been evicted, the worst ones included."""
    new, key, value = adversary()
    sde = model(form=form, decay=decay)._replace(frequency=0.0)
    cache = cache_of(key, value, sde)
    evicted = afa.evict(cache, sde, tolerance, norm=1.0, weighting=WEIGHTING)
    assert evicted.used < cache.used
    exact, found = (step(new, sde, each)[0].mean for each in (cache, evicted))
    bound = 2.0 * tolerance / (1.0 - tolerance) * (2.0**0.5 if "_" in form else 1.0)
    error = largest_norm(found - exact, form)
    assert 0.0 < error <= bound * largest_norm(value, form)


@pytest.mark.parametrize("form", FORMS)
def test_evicted_share_bounds_the_error(form):
    """Without a bound of norms, the weights of a step tell what its estimate may have lost."""
    (query, *new), key, value = adversary()
    sde = model(form=form)._replace(frequency=0.0)
    cache = cache_of(key, value, sde)
    evicted = afa.evict(cache, sde, 0.4)
    shares = []
    for scale in (1.0, 30.0):
        tokens = scale * query, *new
        exact = step(tokens, sde, cache)[0].mean
        estimate, after = step(tokens, sde, evicted)
        share = afa.evicted_share(estimate, after, sde)
        error = largest_norm(estimate.mean - exact, form)
        shares.append(np.max(share))
        bound = 2.0 * shares[-1] * (2.0**0.5 if "_" in form else 1.0)
        assert 0.0 < error <= bound * largest_norm(value, form)
    assert shares[0] < shares[1]
    estimate, after = step((query, *new), sde, cache)
    assert not np.any(afa.evicted_share(estimate, after, sde))


def test_evicted_share_is_exact_for_uniform_weights():
    """With uniform weights r + Z = 1: what is left has the weight 1 − r."""
    new, key, value = adversary()
    sde = model(form="diagonal")
    evicted = afa.evict(cache_of(key, value, sde), sde, 0.4)
    estimate, after = step(new, sde, evicted, weighting=afa.Uniform())
    left = 1.0 - np.exp(after.state.log_kept[0] - after.evicted)[..., 0, :]
    np.testing.assert_allclose(afa.evicted_share(estimate, after, sde), 1.0 - left, rtol=1e-9)


@pytest.mark.parametrize(
    ("library", "capacity"),
    [("numpy", None), ("numpy", 120), ("torch", None), ("torch", 120)],
)
def test_steps_go_on(library, capacity):
    """What is left is that of the whole cache, and so are the filter and later times."""
    pytest.importorskip(library)
    backend = load(library)
    array = backend.from_numpy
    sde, tokens = model(array), normalised(3, HEADS, 150, WIDTH)
    mask = array(np.arange(100) % 7 != 3)
    whole = cache_of(*(array(x[:, :100]) for x in tokens[1:]), sde, mask=mask)
    evicted = afa.evict(whole._replace(capacity=capacity), sde, 1e-6)
    gone = 100 - evicted.used
    assert gone > 50
    for start, stop in ((100, 101), (101, 104), (104, 150)):
        new = [array(x[:, start:stop]) for x in tokens]
        (exact, whole), (found, evicted) = (step(new, sde, x) for x in (whole, evicted))
        for one, two in zip(found, exact, strict=True):
            np.testing.assert_allclose(*map(backend.to_numpy, (one, two)), rtol=0.0, atol=1e-4)
    assert whole.used - evicted.used == gone
    assert whole.origin == evicted.origin
    assert whole.latest == evicted.latest
    np.testing.assert_array_equal(
        *(backend.to_numpy(each.state.log_kept[0]) for each in (whole, evicted))
    )


def test_memory_is_bounded():
    """A decoder that evicts after every step has a bounded number of tokens, after 10⁵ of them."""
    sde = afa.IsotropicSDE(0.01, 0.3, afa.Noise(0.1, 1.0, 0.5))
    tokens = normalised(200, WIDTH)
    cache = afa.DecodeCache.empty(tokens, tokens, sde, correlated=True, capacity=500)
    options = {"weighting": afa.Rational(4.0), "correlated": True}
    used = []
    for _ in range(500):
        _, cache = afa.decode_step(tokens, tokens, tokens, sde, cache, **options)
        cache = afa.evict(cache, sde, 1e-6)
        used.append(cache.used)
    assert max(used) <= 300
    assert float(cache.latest[..., 0, 0]) == 1e5 - 1
    assert cache.key.shape[-2] == 500


def test_least_recent_half_first():
    """Nothing is copied before half of the tokens can go."""
    sde, tokens = model(), normalised(HEADS, 150, WIDTH)
    cache = cache_of(tokens, tokens, sde)
    left = afa.evict(cache, sde, 1e-6)
    assert left.used < 75
    assert afa.evict(left, sde, 1e-6) is left
    np.testing.assert_array_equal(left.key[..., : left.used, :], cache.key[..., -left.used :, :])


def test_no_finite_token_is_forgotten_to_be_checked(monkeypatch):
    """Tokens that are left count as finite only if they are."""
    tokens = normalised(HEADS, 150, WIDTH)
    value = tokens.copy()
    value[:, -1] = np.nan
    assert not afa.evict(cache_of(tokens, value, model()), model(), 1e-6).finite
    value[:, -1], value[:, 0] = 0.0, np.nan
    assert afa.evict(cache_of(tokens, value, model()), model(), 1e-6).finite


def test_jax_evicts_between_compiled_steps(host):
    """With shapes that stay the same; how many tokens can go is not known in a compiled program."""
    host("jax")
    jax = pytest.importorskip("jax")
    x = normalised(HEADS, 50, WIDTH)
    cache, sde = cache_of(x, x, model(), capacity=64), model(jax.numpy.asarray)
    sent = jax.tree.map(jax.numpy.asarray, cache._replace(capacity=None))._replace(capacity=64)
    found, expected = afa.evict(sent, sde, 1e-3), afa.evict(cache, model(), 1e-3)
    assert found.used == expected.used < 25
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.shape(one) == np.shape(two)
    np.testing.assert_allclose(*(each.key[..., : found.used, :] for each in (found, expected)))
    with pytest.raises(ValueError, match="`cache` must not be traced"):
        jax.jit(lambda cache: afa.evict(cache, sde, 1e-3).key)(sent)


def test_mapping_is_refused():
    """Under `torch.func.vmap` caches would have different lengths."""
    torch = pytest.importorskip("torch")
    x, sde = torch.asarray(normalised(HEADS, 50, WIDTH)), model(torch.asarray)
    cache = cache_of(x, x, sde)

    def evicted(log_kept):
        state = cache.state._replace(log_kept=(log_kept,))
        return afa.evict(cache._replace(state=state), sde, 1e-3).key

    with pytest.raises(ValueError, match="`cache` must not be traced"):
        torch.func.vmap(evicted)(torch.stack([*cache.state.log_kept] * 2))
