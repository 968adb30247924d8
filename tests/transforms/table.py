"""Which transforms work on which public function, found by applying them."""

import warnings

import numpy as np

import afa_core as afa
from afa_core import layer
from afa_core._array.arrays import namespace

RNG = np.random.default_rng(0)
NOISE = afa.Noise(0.2, 1.0, 0.5)
ISOTROPIC = afa.IsotropicSDE(0.1, 0.3, NOISE)
DIAGONAL = afa.DiagonalSDE(0.1, 0.3, NOISE)
TITLES = {"jax": "JAX", "torch": "PyTorch"}
MANY = 512
"""Tokens from which attention is over tiles in every library."""


def many(x):
    """That many tokens like the first one."""
    return x[:1, :] * namespace(x=x).ones((MANY, 1), dtype=x.dtype)


def state_of(x):
    return afa.partial_attention(x, x, x, ISOTROPIC, query_times=x[:, 0], key_times=x[:, 0])


def decoded(x, run):
    cache = afa.DecodeCache.of(x[:-1, :], x[:-1, :], ISOTROPIC, capacity=8)
    return run(x[-1:, :], x[-1:, :], x[-1:, :], ISOTROPIC, cache)[0]


def cached(x):
    return afa.DecodeCache.of(x, x, ISOTROPIC, correlated=True).key


def selected(x):
    cache = afa.DecodeCache.of(x[None, ...], x[None, ...], ISOTROPIC, correlated=True)
    places = namespace(x=x).zeros(2, dtype=namespace(x=x).int64)
    return afa.select(cache, places).key


def with_layer(x):
    """An attention layer of two features, all of whose parameters are 0.5."""
    xp = namespace(x=x)
    settings = layer.Settings(features=2, heads=1, modes=1, value_modes=1)
    shapes = {name: each.shape for name, each in layer.initial(settings).items()}
    parameters = {name: xp.full(shape, 0.5, dtype=x.dtype) for name, shape in shapes.items()}
    return layer.attend(parameters, settings, x[None, ...]).output


def sampled(x):
    estimate = afa.Estimate(x, x[:, 0] ** 2 + 1.0)
    return afa.sample(estimate, rng=RNG)


def simulated(x):
    return afa.simulate(ISOTROPIC, x[:, 0] ** 2, initial=x[0, :], rng=RNG)


FUNCTIONS = {
    "`attention`": lambda x: afa.attention(x, x, x, ISOTROPIC),
    "`estimate`": lambda x: afa.estimate(x, x, x, ISOTROPIC),
    "`attention_weights`": lambda x: afa.attention_weights(x, x, x, ISOTROPIC),
    "`attention`, `estimate` of many tokens": lambda x: afa.estimate(*[many(x)] * 3, ISOTROPIC),
    "the same with `Uniform` weights": lambda x: afa.estimate(
        *[many(x)] * 3, ISOTROPIC, weighting=afa.Uniform()
    ),
    "`windowed_attention`": lambda x: afa.windowed_attention(x, x, x, ISOTROPIC, window=2, tile=1),
    "`window_error`": lambda x: afa.window_error(x, x, x, ISOTROPIC, window=2),
    "`decode_step`": lambda x: decoded(x, afa.decode_step),
    "`estimate_step`": lambda x: decoded(x, afa.estimate_step),
    "`DecodeCache.of`": cached,
    "`select`": selected,
    "`partial_attention`": state_of,
    "`merge`": lambda x: afa.merge(state_of(x), state_of(x)),
    "`finish`": lambda x: afa.finish(state_of(x)),
    "`key_influence`": lambda x: afa.key_influence(x[:, 0], x[:, 0], ISOTROPIC),
    "`predict`": lambda x: afa.predict(x, ISOTROPIC, 0.5),
    "`innovation`": lambda x: afa.innovation(x, 2.0 * x),
    "`gate`": lambda x: afa.gate(x**2, 1.0),
    "`equilibrium`": lambda x: afa.equilibrium(ISOTROPIC, x),
    "`delay_keys`": lambda x: afa.delay_keys(x, 0.5),
    "`sample`": sampled,
    "`simulate`": simulated,
    "`kalman.filter`": lambda x: afa.kalman.filter(x, None, ISOTROPIC),
    "`kalman.smoother`": lambda x: afa.kalman.smoother(x, None, ISOTROPIC),
    "`kalman.batch_mle`": lambda x: afa.kalman.batch_mle(x, None, DIAGONAL),
    "`kalman.robust_filter`": lambda x: afa.kalman.robust_filter(x, None, ISOTROPIC),
    "`layer.attend`": with_layer,
}
"""Functions of three tokens (3, 2)."""

OUTSIDE = "diagonalise", "evict", "evicted_share", "explain", "validate_times", "visited_blocks"
"""Functions that are called outside of transforms: they read values or return no array."""


def leaves_of(found):
    if isinstance(found, tuple | list):
        return [x for each in found for x in leaves_of(each)]
    return [found] if "float" in str(getattr(found, "dtype", "")) else []


def total_of(function):
    """A function's sum of squares."""

    def total(x):
        return sum((leaf * leaf).sum() for leaf in leaves_of(function(x)))

    return total


def in_jax(jax):
    def lowered(transform):
        return lambda function, x: jax.jit(transform(function)).lower(x)

    return {
        "compiled": lowered(lambda f: f),
        "mapped": lambda f, x: jax.jit(jax.vmap(f)).lower(jax.numpy.stack([x, x])),
        "gradient": lowered(jax.grad),
        "forward mode": lowered(lambda f: lambda x: jax.jvp(f, (x,), (x,))),
        "second derivative": lowered(lambda f: lambda x: jax.jvp(jax.grad(f), (x,), (x,))),
        "checkpoint": lowered(lambda f: jax.grad(jax.checkpoint(f))),
    }


def in_torch(torch):
    func = torch.func

    def compiled(function, x):
        torch._dynamo.reset()
        return torch.compile(function, fullgraph=True, backend="eager")(x)

    def checkpointed(function, x):
        leaf = x.clone().requires_grad_()
        torch.utils.checkpoint.checkpoint(function, leaf, use_reentrant=False).backward()

    return {
        "compiled": compiled,
        "mapped": lambda f, x: func.vmap(f)(torch.stack([x, x])),
        "gradient": lambda f, x: func.grad(f)(x),
        "forward mode": lambda f, x: func.jvp(f, (x,), (x,)),
        "second derivative": lambda f, x: func.jacrev(func.grad(f))(x),
        "checkpoint": checkpointed,
    }


def refusal(transform, function, x):
    """The error of a transform of a function, None if it works."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transform(total_of(function), x)
    except Exception as error:
        return error
    return None
