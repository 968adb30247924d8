"""Compare six JAX devices with one; print the errors as JSON."""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from problems import (
    Problem,
    arguments_of,
    draw_leaves,
    key_mask_of,
    map_tokens,
    relative_errors,
    with_hidden_nan,
)

import afa_core as afa
from afa_core.distributed.chunks import chunk_order, inverse_permutation, take_chunks
from afa_jax.ring import ring_attention, ring_estimate, sharded_attention

jax.config.update("jax_enable_x64", True)


def mesh_of(*sizes):
    devices = np.asarray(jax.devices())[: int(np.prod(sizes))]
    return Mesh(devices.reshape(sizes), ("data", "ring")[-len(sizes) :])


def named(estimate):
    names = ("mean", "precision", "tangential precision")
    return dict(zip(names, jax.tree.leaves(estimate), strict=False))


def errors_of(problem, evaluate):
    """Return the errors, relative to one device, of results and where wanted of gradients."""
    leaves = with_hidden_nan(problem, draw_leaves(problem))
    leaves = {name: jnp.asarray(x) for name, x in leaves.items()}
    key_mask = key_mask_of(problem)
    key_mask = None if key_mask is None else jnp.asarray(key_mask)

    def evaluate_alone(tokens, others, key_mask):
        mask = None if key_mask is None else key_mask[..., None, :]
        found = afa.estimate(**tokens, **others, mask=mask, implementation="reference")
        return found if evaluate.return_precision else found.mean

    def results_and_gradients(function):
        def loss(leaves):
            results = named(function(*arguments_of(problem, leaves), key_mask))
            rng = np.random.default_rng(7)
            grads = [rng.standard_normal(x.shape) for x in results.values()]
            pairs = zip(results.values(), grads, strict=True)
            return sum(jnp.sum(x * grad) for x, grad in pairs), results

        if not evaluate.gradients:
            return jax.jit(lambda leaves: loss(leaves)[1])(leaves)
        (_, results), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(leaves)
        return results | {f"by {name}": x for name, x in gradients.items()}

    functions = evaluate_alone, evaluate
    return relative_errors(problem, *(results_and_gradients(each) for each in functions))


class Sharded:
    """`sharded_attention` on a mesh whose last axis is the ring."""

    return_precision = False

    def __init__(self, *sizes, gradients=True):
        self.mesh, self.gradients = mesh_of(*sizes), gradients

    def __call__(self, tokens, others, key_mask):
        return sharded_attention(
            **tokens, **others, key_mask=key_mask, mesh=self.mesh, axis_name="ring", tile=4
        )


class Mapped:
    """`ring_estimate` in a function mapped here, on tokens that divide evenly."""

    return_precision, gradients = True, True

    def __init__(self, problem, devices):
        self.problem, self.mesh = problem, mesh_of(devices)
        self.order = chunk_order(devices, causal=True)

    def __call__(self, tokens, others, key_mask):
        tokens = tokens | ({} if key_mask is None else {"key_mask": key_mask})

        def reorder(x, axis, order=tuple(self.order)):
            return take_chunks(x, order, len(order), axis, xp=jnp)

        def spec(x, axis):
            return PartitionSpec(*(None,) * (x.ndim + axis), "ring")

        tokens = map_tokens(reorder, self.problem, tokens)
        specs = map_tokens(spec, self.problem, tokens)
        traced = {name: others.pop(name) for name in ("sde", "weighting")}

        def local(tokens, traced):
            found = ring_estimate(**tokens, **traced, **others, axis_name="ring", tile=4)
            return jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0), found)

        found = jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(specs, PartitionSpec()),
            out_specs=PartitionSpec("ring"),
            check_vma=False,
        )(tokens, traced)
        restored = inverse_permutation(self.order)
        return jax.tree.map(lambda x: jnp.moveaxis(reorder(x, 0, restored), 0, 2), found)


def sharded_heads():
    """Shard batch and heads by annotation alone, without ring attention."""
    problem = Problem("sharded heads", tokens=24)
    mesh = mesh_of(2, 3)
    leaves = {name: jnp.asarray(x) for name, x in draw_leaves(problem).items()}

    def loss(leaves, **options):
        tokens, others = arguments_of(problem, leaves)
        return jnp.sum(afa.attention(**tokens, **others, **options) ** 2)

    def place(name, x):
        spec = PartitionSpec("data", "ring") if x.ndim == 4 else PartitionSpec("ring")
        spec = spec if x.shape[:1] in ((2,), (3,)) and "frequency" not in name else PartitionSpec()
        return jax.device_put(x, NamedSharding(mesh, spec))

    exact = jax.jit(jax.grad(partial(loss, implementation="reference")))(leaves)
    gradients = jax.jit(jax.grad(partial(loss, implementation="streaming", tile=8)))
    sharded = gradients({name: place(name, x) for name, x in leaves.items()})
    assert len(sharded["key"].sharding.device_set) == 6
    return relative_errors(problem, exact, sharded)


def messages():
    """Return the errors that calls with unfit arguments raise, as text."""
    x, found = jnp.ones((2, 16, 2)), {}
    sde = afa.IsotropicSDE(0.1, 0.0, afa.Noise(0.1, 1.0, 1.0))
    mesh = mesh_of(4)

    def sharded(query, **options):
        return sharded_attention(query, x, x, sde, **{"mesh": mesh, "axis_name": "ring"} | options)

    def mapped(tokens, *, check_vma):
        spec = PartitionSpec(None, "ring")

        def local(x):
            return ring_attention(x, x, x, sde, axis_name="ring")

        return jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check_vma)(
            tokens
        )

    calls = {
        "axis": lambda: sharded(x, axis_name="tokens"),
        "causal": lambda: sharded(x[:, :8]),
        "option": lambda: sharded(x, mask=x > 0),
        "mask": lambda: sharded(x, key_mask=x[0, :, 0]),
        "tile": lambda: sharded(x, tile=0),
        "vma": lambda: mapped(x, check_vma=True),
        "chunks": lambda: mapped(x[:, :4], check_vma=False),
    }
    for name, call in calls.items():
        try:
            call()
            found[name] = "nothing"
        except (TypeError, ValueError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def main():
    errors = {}
    both_sides = Problem("both sides", tokens=19, causal=False, correlated=True)
    with_precision = Problem(
        "with precision", "radial_tangential", tokens=8, dof="array", masked="left",
        times="irregular", correlated=True,
    )  # fmt: skip
    masked = Problem(
        "masked", "diagonal", tokens=21, causal=False, masked="right", dof="array",
        has_temperature=True, times="irregular",
    )  # fmt: skip
    cases = [
        (both_sides, Sharded(4, gradients=False)),
        (masked, Sharded(2, 3)),
        (with_precision, Mapped(with_precision, 2)),
    ]
    for problem, evaluate in cases:
        errors |= errors_of(problem, evaluate)
    errors |= sharded_heads()
    json.dump({"errors": errors, "messages": messages()}, sys.stdout)


if __name__ == "__main__":
    main()
