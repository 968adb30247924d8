"""Call functions on arrays that JAX divides among devices; print the errors as JSON."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import afa_core as afa

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)
TOKENS = tuple(jnp.asarray(RNG.standard_normal((2, 8, 4))) for _ in range(3))
TIMES = jnp.cumsum(jnp.asarray(RNG.uniform(0.5, 1.5, 8)))
MASK = jnp.asarray([True, False, True, True, True, True, False, True])
NOISE = afa.Noise(jnp.asarray(0.2), 1.0, 0.5)
FREQUENCY = jnp.asarray([0.3, 0.7])
ISOTROPIC = afa.IsotropicSDE(jnp.asarray(0.1), FREQUENCY, NOISE)
MODELS = {
    "isotropic": ISOTROPIC,
    "diagonal": afa.DiagonalSDE(jnp.asarray([0.1, 0.3]), FREQUENCY, NOISE),
    "radial-tangential": afa.RadialTangentialSDE(0.1, FREQUENCY, NOISE, NOISE),
}
IRREGULAR = {"query_times": TIMES, "key_times": TIMES}
PROBLEMS = {
    "isotropic": {},
    "diagonal": IRREGULAR | {"causal": False},
    "radial-tangential": {"mask": MASK, "inverse_temperature": jnp.asarray(0.8)},
    "isotropic, correlated": {"correlated": True, "tolerance": 1e-3, "mask": MASK},
    "isotropic, correlated, acausal": IRREGULAR
    | {"correlated": True, "tolerance": 1e-3, "causal": False},
}
"""With every loop of tiles: in order and unknown order, to the end and to an early exit."""


def streamed(name):
    """Estimates over tiles, as a function of tokens and a model."""

    def estimate(query, key, value, sde):
        options = {"implementation": "streaming", "tile": 2}
        return afa.estimate(query, key, value, sde, **PROBLEMS[name], **options)

    return estimate, MODELS[name.split(",")[0]]


def decoded(query, key, value, sde):
    cache = afa.DecodeCache.of(key[..., :-1, :], value[..., :-1, :], sde, capacity=16)
    return afa.decode_step(*(x[..., -1:, :] for x in (query, key, value)), sde, cache)[0]


def filtered(query, key, value, sde):
    return [each(value, TIMES, sde).mean for each in (afa.kalman.filter, afa.kalman.smoother)]


def windowed(query, key, value, sde):
    return afa.windowed_attention(query, key, value, sde, window=2, tile=2)


def attended(query, key, value, sde):
    return afa.attention(query, key, value, sde), afa.predict(value, sde, 0.5)


OTHERS = {"decoded": decoded, "filtered": filtered, "windowed": windowed, "attended": attended}


def with_gradients(function):
    """Results and gradients in tokens and model."""

    def loss(*arguments):
        found = function(*arguments)
        return sum((x**2).sum() for x in jax.tree.leaves(found)), found

    return jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True)


def error(found, expected):
    leaves = (jax.tree.leaves(each) for each in (found, expected))
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(*leaves, strict=True)]
    return max(float(np.max(abs(a - b)) / max(1.0, np.max(abs(b)))) for a, b in pairs if a.size)


def mapped(function, sde):
    """The error within `jax.shard_map`, which checks along which axes arrays vary."""
    mesh, spec = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,)), PartitionSpec("x")
    divided = jax.shard_map(
        function, mesh=mesh, in_specs=(spec, spec, spec, PartitionSpec()), out_specs=spec
    )
    found = jax.jit(with_gradients(divided))(*TOKENS, sde)
    return error(found, jax.jit(with_gradients(function))(*TOKENS, sde))


def explicit(function, sde):
    """The error where types say how heads are divided."""
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Explicit,))
    expected = jax.jit(with_gradients(function))(*TOKENS, sde)
    with jax.set_mesh(mesh):
        tokens = jax.device_put(TOKENS, NamedSharding(mesh, PartitionSpec("x")))
        return error(jax.jit(with_gradients(function))(*tokens, sde), expected)


def eager(function, sde, *axes):
    """The error of a call, not compiled, on arrays divided along some axes."""
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,))
    tokens = jax.device_put(TOKENS, NamedSharding(mesh, PartitionSpec(*axes)))
    return error(function(*tokens, sde), jax.jit(function)(*TOKENS, sde))


def main():
    errors = {f"mapped {name}": mapped(*streamed(name)) for name in PROBLEMS}
    errors |= {f"mapped, {name}": mapped(each, ISOTROPIC) for name, each in OTHERS.items()}
    names = ("diagonal", "isotropic, correlated")
    errors |= {f"explicit {name}": explicit(*streamed(name)) for name in names}
    errors["eager, heads"] = eager(*streamed("isotropic"), "x")
    errors |= {f"eager, {name}": eager(each, ISOTROPIC, None, "x") for name, each in OTHERS.items()}
    return {"errors": errors}


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
