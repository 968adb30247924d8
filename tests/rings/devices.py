"""What eight devices of JAX find beside one of them; prints errors as JSON."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from problems import Problem, arguments, errors, hidden, leaves, spoilt

import afa_core as afa
from afa_core.distributed.shards import order_of_chunks, picked
from afa_jax.ring import ring_attention, ring_estimate, sharded_attention

jax.config.update("jax_enable_x64", True)


def mesh_of(*sizes):
    devices = np.asarray(jax.devices())[: int(np.prod(sizes))]
    return Mesh(devices.reshape(sizes), ("data", "ring")[-len(sizes) :])


def names_of(found):
    parts = ("mean", "precision", "tangential precision")
    return dict(zip(parts, jax.tree.leaves(found), strict=False))


def compared(p, evaluate):
    """Return the errors of results and gradients of a ring beside those of one device."""
    found = {name: jnp.asarray(x) for name, x in spoilt(p, leaves(p)).items()}
    seen = None if hidden(p) is None else jnp.asarray(hidden(p))

    def loss_of(function):
        def loss(found):
            results = names_of(function(*arguments(p, found)))
            rng = np.random.default_rng(7)
            by = [rng.standard_normal(x.shape) for x in results.values()]
            parts = zip(results.values(), by, strict=True)
            return sum(jnp.sum(x * each) for x, each in parts), results

        return jax.jit(jax.value_and_grad(loss, has_aux=True))

    def alone(tokens, others):
        mask = None if seen is None else seen[..., None, :]
        found = afa.estimate(**tokens, **others, mask=mask, implementation="reference")
        return found if evaluate.precise else found.mean

    told = []
    for function in (alone, lambda tokens, others: evaluate(tokens, others, seen)):
        (_, results), gradients = loss_of(function)(found)
        told.append(results | {f"by {name}": x for name, x in gradients.items()})
    return errors(p, *told)


class Whole:
    """`sharded_attention` on a mesh of which the last axis is the ring."""

    precise = False

    def __init__(self, *sizes):
        self.mesh = mesh_of(*sizes)

    def __call__(self, tokens, others, seen):
        return sharded_attention(
            **tokens, **others, key_mask=seen, mesh=self.mesh, axis_name="ring", tile=4
        )


class Local:
    """`ring_estimate` in a mapped function of our own, on tokens that are divided evenly."""

    precise = True

    def __init__(self, devices):
        self.mesh = mesh_of(devices)
        self.order = order_of_chunks(devices, causal=True)

    def __call__(self, tokens, others, seen):
        tokens = tokens | ({} if seen is None else {"key_mask": jnp.asarray(seen)})
        along = {name: -1 if "times" in name or "mask" in name else -2 for name in tokens}

        def laid_out(x, axis, order=self.order):
            return picked(x, order, len(order), axis, xp=jnp)

        tokens = {name: laid_out(x, along[name]) for name, x in tokens.items()}
        specs = {
            name: PartitionSpec(*(None,) * (x.ndim + along[name]), "ring")
            for name, x in tokens.items()
        }
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
        back = np.argsort(self.order)
        return jax.tree.map(lambda x: jnp.moveaxis(laid_out(x, 0, back), 0, 2), found)


def across_heads():
    """Shard batch and heads by annotation alone, with no code of a ring."""
    p = Problem("sharded heads", tokens=24)
    mesh = mesh_of(2, 3)
    found = {name: jnp.asarray(x) for name, x in leaves(p).items()}

    def loss(found):
        tokens, others = arguments(p, found)
        return jnp.sum(afa.attention(**tokens, **others, implementation="streaming", tile=8) ** 2)

    def placed(name, x):
        spec = PartitionSpec("data", "ring") if x.ndim == 4 else PartitionSpec("ring")
        spec = spec if x.shape[:1] in ((2,), (3,)) and "frequency" not in name else PartitionSpec()
        return jax.device_put(x, NamedSharding(mesh, spec))

    one = jax.jit(jax.grad(loss))
    shared = one({name: placed(name, x) for name, x in found.items()})
    assert len(shared["key"].sharding.device_set) == 6
    return errors(p, one(found), shared)


def refused():
    """Return what is said to calls that cannot work."""
    x, said = jnp.ones((2, 16, 2)), {}
    sde = afa.IsotropicSDE(0.1, 0.0, afa.Noise(0.1, 1.0, 1.0))
    mesh = mesh_of(8)

    def mapped(check, tokens):
        spec = PartitionSpec(None, "ring")

        def local(x):
            return ring_attention(x, x, x, sde, axis_name="ring")

        wrapped = jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check)
        return wrapped(tokens)

    calls = {
        "axis": lambda: sharded_attention(x, x, x, sde, mesh=mesh, axis_name="tokens"),
        "causal": lambda: sharded_attention(x[:, :8], x, x, sde, mesh=mesh, axis_name="ring"),
        "option": lambda: sharded_attention(x, x, x, sde, mesh=mesh, axis_name="ring", mask=x > 0),
        "mask": lambda: sharded_attention(
            x, x, x, sde, mesh=mesh, axis_name="ring", key_mask=x[0, :, 0]
        ),
        "tile": lambda: sharded_attention(x, x, x, sde, mesh=mesh, axis_name="ring", tile=0),
        "vma": lambda: mapped(True, x),
        "chunks": lambda: mapped(False, x[:, :8]),
    }
    for name, call in calls.items():
        try:
            call()
            said[name] = "nothing"
        except (TypeError, ValueError) as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def main():
    told = {}
    cases = [
        (Problem("causal", tokens=35), Whole(8)),
        (
            Problem(
                "masked", "diagonal", tokens=21, causal=False, masked="right", dof="array",
                tempered=True, times="irregular",
            ),
            Whole(2, 4),
        ),
        (
            Problem(
                "precise", "radial_tangential", tokens=16, dof="array",
                masked="left", times="irregular",
            ),
            Local(4),
        ),
    ]  # fmt: skip
    for p, evaluate in cases:
        told |= compared(p, evaluate)
    told |= across_heads()
    json.dump({"errors": told, "refused": refused()}, sys.stdout)


if __name__ == "__main__":
    main()
