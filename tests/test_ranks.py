"""Arguments of different ranks where JAX refuses to broadcast them by itself.

Users set `jax.numpy_rank_promotion("raise")` to find mistakes of their own.
"""

import inspect
from functools import partial

import numpy as np
import pytest

import afa_core as afa
from afa_core.layer import Settings, attend, empty_cache, initial, step

N, H, B = 4, 3, 2
NOISE = 0.2, 1.0, 0.5


class Arguments:
    """Random arguments in an array library: tokens have batch axes, all else has as few as it may.

    With `heads` it is the other way round: tokens have no leading axis, parameters one of heads.
    """

    def __init__(self, array, form, *, heads):
        self.array, self.heads = array, (H,) if heads else ()
        self.batch = () if heads else (B, H)
        self.form, self.rng = form, np.random.default_rng(0)
        self.times = array(np.arange(N) + 0.5)
        self.key_mask = array(np.asarray([True, False, True, True]))
        self.pair_mask = array(np.ones((N, N), dtype=bool))

    def normal(self, *shape):
        return self.array(self.rng.standard_normal(shape))

    def tokens(self):
        return [self.normal(*self.batch, N, 4), self.normal(N, 4), self.normal(*self.batch, N, 4)]

    def parameter(self, x):
        return self.array(np.full(self.heads, x))

    def noise(self):
        return afa.Noise(*map(self.parameter, NOISE))

    def per_mode(self, x):
        return self.array(np.full((*self.heads, 2), x))

    def sde(self):
        frequency = self.per_mode(0.3)
        if self.form == "diagonal":
            noise = afa.Noise(*map(self.per_mode, NOISE))
            return afa.DiagonalSDE(self.per_mode(0.1), frequency, noise)
        decay = self.parameter(0.1)
        if self.form == "isotropic":
            return afa.IsotropicSDE(decay, frequency, self.noise())
        return afa.RadialTangentialSDE(decay, frequency, self.noise(), self.noise())

    def query_variance(self):
        variance = self.array(np.full((N, 2) if self.form == "diagonal" else (N,), 0.5))
        directed = self.form == "radial-tangential"
        return afa.RadialTangential(variance, variance) if directed else variance

    def options(self):
        """Options that all functions of attention take."""
        return {
            "weighting": afa.StudentT(self.parameter(4.0)),
            "inverse_temperature": self.parameter(0.8),
            "query_variance": self.query_variance(),
        }

    def timed(self):
        return {"query_times": self.times, "key_times": self.times}


def attention(of, implementation, **options):
    """The estimate with these options beside those of all functions."""
    chosen = {"implementation": implementation, "tile": 2}
    return afa.estimate(*of.tokens(), of.sde(), **chosen, **of.options(), **options)


def over_keys(of, implementation, **options):
    return attention(of, implementation, mask=of.key_mask, **of.timed(), **options)


def over_pairs(of, implementation):
    return attention(of, implementation, mask=of.pair_mask)


def convolved(of):
    options = {"weighting": afa.Uniform(), "implementation": "linear"}
    return [
        afa.estimate(*of.tokens(), of.sde(), causal=causal, **options) for causal in (True, False)
    ]


def weights(of):
    return [
        afa.attention_weights(*of.tokens(), of.sde(), **of.options(), **options)
        for options in ({"mask": of.pair_mask}, {"mask": of.key_mask, "correlated": True})
    ]


def decoded(of, *, correlated):
    query, key, value = of.tokens()
    prompt = {"mask": of.key_mask, "times": of.times, "capacity": 12, "correlated": correlated}
    cache = afa.DecodeCache.of(key, value, of.sde(), **prompt)
    found = []
    for count in (1, 3):
        new = [x[..., :count, :] for x in (query, key, value)]
        variance = of.query_variance()
        if isinstance(variance, tuple):
            variance = type(variance)(*(x[:count, ...] for x in variance))
        else:
            variance = variance[:count, ...]
        options = of.options() | {"query_variance": variance, "correlated": correlated}
        time, mask = of.times[:count] + 9.0, of.key_mask[:count]
        estimate, cache = afa.estimate_step(*new, of.sde(), cache, mask=mask, time=time, **options)
        found.append(estimate)
    output, cache = afa.decode_step(*new, of.sde(), cache, **options)
    return found, output, cache.key, cache.value, cache.times, cache.state


def evicted(of):
    _, key, value = of.tokens()
    cache = afa.DecodeCache.of(key, value, of.sde(), times=1e3 * of.times, correlated=True)
    options = {"norm": 10.0, "weighting": afa.StudentT(of.parameter(4.0))}
    cache = afa.evict(cache, of.sde(), 1e-3, **options)
    query = [x[..., -1:, :] for x in of.tokens()]
    estimate, cache = afa.estimate_step(*query, of.sde(), cache, correlated=True)
    return afa.evicted_share(estimate, cache, of.sde())


def selected(of):
    _, key, value = of.tokens()
    cache = afa.DecodeCache.of(key[None, ...], value[None, ...], of.sde(), times=of.times)
    return afa.select(cache, of.array(np.asarray([0, 0]))).key


def parts(of, *, causal):
    query, key, value = of.tokens()
    anchor = {"anchor": value} if of.form == "radial-tangential" else {}
    influence = afa.key_influence(of.times, of.times, of.sde(), key_mask=of.key_mask, causal=causal)
    found = []
    for keys in (slice(0, 2), slice(2, None)):
        part = query, key[..., keys, :], value[..., keys, :], of.sde()
        times = {"query_times": of.times, "key_times": of.times[keys], "causal": False}
        independent = afa.partial_attention(
            *part, mask=of.key_mask[keys], **anchor, **times, **of.options()
        )
        own = {"correlated": True, "influence": influence.part(keys)}
        found.append((independent, afa.partial_attention(*part, **own, **anchor, **of.options())))
    return influence, [afa.finish(afa.merge(*each)) for each in zip(*found, strict=True)]


def windows(of, function, **options):
    if of.form != "isotropic":
        return None
    shared = {"mask": of.key_mask, "query_variance": of.query_variance(), **of.timed(), **options}
    return [
        function(*of.tokens(), of.sde(), window=1, weighting=weighting, correlated=each, **shared)
        for each in (False, True)
        for weighting in (afa.StudentT(of.parameter(4.0)), afa.Uniform())
    ]


def exact(of, function, **options):
    if of.form == "radial-tangential":
        return None
    observed = of.array(np.ones((N, 2), dtype=bool))
    tokens = of.normal(*of.batch, N, 4)
    if function is afa.kalman.batch_mle:
        return [function(tokens, of.times, of.sde(), causal=causal) for causal in (True, False)]
    if function is afa.kalman.robust_filter:
        options["dof"] = of.parameter(4.0)
    prior = afa.kalman.Prior(of.normal(4), of.array(np.ones(2)))
    return [
        function(tokens, times, of.sde(), prior=each, observed=observed, **options)
        for times, each in ((of.times, None), (None, prior))
    ]


def simulated(of):
    rng = np.random.default_rng(0)
    found = [afa.simulate(of.sde(), of.times, initial=of.normal(*of.batch, 4), rng=rng)]
    if of.form == "radial-tangential":
        options = {"rng": rng, "method": "linearised"}
        found.append(afa.simulate(of.sde(), of.times, initial=of.normal(4), **options))
    return found


def sampled(of):
    shape = (*of.batch, N, 2) if of.form == "diagonal" else (N,)
    precision, anchor = of.array(np.ones(shape)), None
    if of.form == "radial-tangential":
        precision, anchor = afa.RadialTangential(precision, precision), of.normal(N, 4)
    estimate = afa.Estimate(of.normal(*of.batch, N, 4), precision)
    return afa.sample(estimate, rng=np.random.default_rng(0), anchor=anchor, query_noise=0.5)


def derived(of):
    mean = of.normal(*of.batch, N, 4)
    return (
        afa.predict(mean, of.sde(), of.times),
        afa.predict(mean, of.sde(), 1.0),
        afa.innovation(mean, of.normal(N, 4)),
        afa.innovation(of.normal(N, 4), mean),
        afa.gate(of.array(np.ones((*of.batch, N))), of.array(np.ones(N))),
        afa.equilibrium(of.sde(), of.normal(*of.batch, *of.heads, 4)),
        afa.delay_keys(of.times, of.array(np.ones((B, H)))),
    )


def covariances(of):
    lag = of.array(np.ones((5, *of.heads, 2)))
    per_mode = of.form == "diagonal"
    lags = lag if per_mode else lag[..., 0]
    sde, weighting = of.sde(), afa.StudentT(of.parameter(4.0))
    distance = of.array(np.ones((5, *of.heads)))
    weighed = [
        x.log_weight(distance, 2) for x in (weighting, afa.Rational(weighting.dof), afa.Gaussian())
    ]
    return sde.transition(lag), sde.covariance(lags), sde.residual_covariance(lags), weighed


def diagonalised(of):
    unit = np.eye(2)
    found = afa.diagonalise(*map(of.array, (-0.1 * unit, unit, unit, unit)))
    return found[1].from_modes(found[1].to_modes(of.normal(*of.batch, N, 2)))


def visited(of):
    return afa.visited_blocks(*of.tokens(), of.sde(), tile=2, correlated=True, **of.options())[0]


CASES = {
    "attention over keys": partial(over_keys, implementation="reference"),
    "attention over pairs": partial(over_pairs, implementation="reference"),
    "streamed over keys": partial(over_keys, implementation="streaming"),
    "streamed over pairs": partial(over_pairs, implementation="streaming"),
    "correlated": partial(over_keys, implementation="reference", correlated=True),
    "correlated, both sides": partial(
        over_keys, implementation="reference", correlated=True, causal=False
    ),
    "correlated, streamed": partial(
        over_keys, implementation="streaming", correlated=True, tolerance=1e-3
    ),
    "correlated, streamed, both sides": partial(
        over_keys, implementation="streaming", correlated=True, causal=False, tolerance=1e-3
    ),
    "linear": convolved,
    "weights": weights,
    "decoding": partial(decoded, correlated=False),
    "decoding, correlated": partial(decoded, correlated=True),
    "selection": selected,
    "parts": partial(parts, causal=True),
    "parts, both sides": partial(parts, causal=False),
    "window": partial(windows, function=afa.windowed_attention, tile=1),
    "window, no far keys": partial(windows, function=afa.windowed_attention),
    "window error": partial(windows, function=afa.window_error),
    "filter": partial(exact, function=afa.kalman.filter),
    "filter, sequential": partial(exact, function=afa.kalman.filter, method="sequential"),
    "smoother": partial(exact, function=afa.kalman.smoother),
    "smoother, sequential": partial(exact, function=afa.kalman.smoother, method="sequential"),
    "robust filter": partial(exact, function=afa.kalman.robust_filter, iterations=2),
    "batch_mle": partial(exact, function=afa.kalman.batch_mle),
    "simulate": simulated,
    "sample": sampled,
    "estimates": derived,
    "covariances": covariances,
}
CONCRETE = {"eviction": evicted, "visited blocks": visited, "diagonalise": diagonalised}
"""Cases that read values, so that JAX cannot trace them."""
LAYERS = (
    Settings(6, 2, 3, 3, normalised=("query", "key", "value"), gated=True, horizon=1.0),
    Settings(6, 2, 3, 3, sphere=True, weighting="gaussian", output="innovation"),
    Settings(6, 2, 3, 3, form="diagonal", gated=True, correlated=True),
    Settings(6, 2, 3, 3, form="radial_tangential", gated=True, damping="coupled"),
)
forms = pytest.mark.parametrize("form", ["isotropic", "diagonal", "radial-tangential"])
heads = pytest.mark.parametrize("heads", [False, True], ids=["batch", "heads"])


@pytest.fixture
def jax(host):
    host("jax")
    jax = pytest.importorskip("jax")
    with jax.numpy_rank_promotion("raise"):
        yield jax


def shapes(tree, jax):
    return jax.tree.map(lambda x: tuple(x.shape), tree)


@forms
@heads
@pytest.mark.parametrize("case", CASES)
def test_traced(jax, case, form, heads):
    """Nothing is refused, and shapes are those of NumPy."""
    expected = CASES[case](Arguments(np.asarray, form, heads=heads))
    found = jax.eval_shape(lambda: CASES[case](Arguments(jax.numpy.asarray, form, heads=heads)))
    assert shapes(found, jax) == shapes(expected, jax)


@heads
@pytest.mark.parametrize("case", CONCRETE)
def test_concrete(jax, case, heads):
    expected = CONCRETE[case](Arguments(np.asarray, "isotropic", heads=heads))
    found = CONCRETE[case](Arguments(jax.numpy.asarray, "isotropic", heads=heads))
    assert shapes(found, jax) == shapes(expected, jax)


@forms
@pytest.mark.parametrize("implementation", ["reference", "streaming"])
def test_gradients(jax, form, implementation):
    """Neither direction of differentiation is refused."""

    def loss(factor):
        def array(x):
            return factor * x if x.dtype == float else jax.numpy.asarray(x)

        of = Arguments(array, form, heads=False)
        found = over_keys(of, implementation, correlated=True)
        return sum((x**2).sum() for x in jax.tree.leaves(found))

    assert jax.eval_shape(jax.grad(loss), jax.numpy.ones(())).shape == ()


def initialised(settings, array):
    """The parameters of a layer, random where their start is."""
    rng = np.random.default_rng(0)
    starts = initial(settings).items()
    own = {n: np.asarray(x.values) if x.values else rng.standard_normal(x.shape) for n, x in starts}
    return {n: array(own[n].reshape(x.shape)) for n, x in starts}


@pytest.mark.parametrize("settings", LAYERS, ids=lambda x: x.form)
def test_layer(jax, settings):
    """Layers refuse nothing either, for tokens with and without a batch."""
    key_mask = np.asarray([True, False, True, True])

    def run(array):
        parameters = initialised(settings, array)
        x = array(np.ones((B, N, 6)))
        mask = {"key_mask": array(key_mask), "query_times": array(np.arange(4.0))}
        attended = [
            attend(parameters, settings, *each, need_precision=True, need_weights=True, **mask)
            for each in ((x,), (x[0, ...],), (x[0, ...], x))
        ]
        cache = empty_cache(parameters, settings, x, capacity=8)
        found, cache = step(parameters, settings, x[:, :3, :], cache, mask=array(key_mask[:3]))
        return attended, found, step(parameters, settings, x[:, 3:, :], cache)[0]

    expected = run(np.asarray)
    assert shapes(jax.eval_shape(lambda: run(jax.numpy.asarray)), jax) == shapes(expected, jax)


def test_every_function():
    """Each public function is called by a case, but for those that a case contains or that read."""
    text = inspect.getsource(inspect.getmodule(Arguments))
    public = {name for name in afa.__all__ if inspect.isfunction(getattr(afa, name))}
    missing = {name for name in public if f"afa.{name}" not in text}
    assert missing == {"explain", "validate_times"}


def test_leading_axes_of_results():
    """Results have no leading axes that only unrelated arguments have."""
    of = Arguments(np.asarray, "isotropic", heads=False)
    x, values = of.normal(N, 4), of.normal(B, H, N, 4)
    assert afa.attention_weights(x, x, values, of.sde()).shape == (N, N)
    sde = of.sde()._replace(decay=np.full((B, H), 0.1))
    assert afa.DecodeCache.of(x, x, sde).key.ndim == 2
    assert afa.DecodeCache.of(x, x, sde, correlated=True).key.shape[:-2] == (1, 1)
    assert afa.estimate(x, x, values, of.sde()).precision.shape == (B, H, N)
