"""Rings of JAX devices: sequences longer than one of them holds, forward and back (spec §9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Unpack, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from afa_core._array.arrays import is_array
from afa_core._checks.arguments import check_options, checked_tile, gather
from afa_core._checks.times import complete_times
from afa_core.distributed.ring import Block, Cargo, blocks_of, derivatives, included, problem_of
from afa_core.distributed.shards import (
    Ring,
    RingOptions,
    estimated,
    order_of_chunks,
    padded,
    picked,
    restoring,
)
from afa_core.model.estimates import Estimate
from afa_core.model.sde import SDE
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import Fixed, Operands
from afa_jax.streaming import ENGINE, Static, backward, forward

XP: Any = jnp
LAX: Any = lax
Spec: Any = PartitionSpec


class Way(NamedTuple):
    """What beside arrays makes the program of a ring."""

    axis: str
    static: Static


def ring_attention(
    query: Any, key: Any, value: Any, sde: SDE, *, axis_name: str, **options: Unpack[RingOptions]
) -> Any:
    """Return the attention of this device's queries over the keys of a whole ring of devices.

    To be called within ``jax.shard_map(…, check_vma=False)``. Keys and values go round by
    `lax.ppermute`, forward and, for gradients, back again; a device holds no more of them than its
    own share and the one that is passing.

    Parameters
    ----------
    query, key, value : array, shapes (..., n, c), (..., m, c), (..., m, c_v)
        The tokens of this device. If `causal`, those of the chunks i and 2P − 1 − i of 2P, for
        device i of P, so that all have the same work; else of chunk i of P.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The same on every device.
    axis_name : str
        The axis of the mesh along which tokens are cut.
    key_mask : boolean array, shape (..., m), or None
        Hides keys of this device where False, whatever they contain.
    **options
        `weighting`, `inverse_temperature`, `query_times`, `key_times`, `causal`, `anchor`,
        `layout` and `tile`, as of `attention`. Times are by default the places in the sequence.

    Returns
    -------
    array, shape (..., n, c_v)
        Of the kind, layout and dtype of `value`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes or options do not fit each other, or the mapped function checks varying axes.

    References
    ----------
    Spec §9.
    """
    return _estimated(query, key, value, sde, axis_name, options, precise=False)[0]


def ring_estimate(
    query: Any, key: Any, value: Any, sde: SDE, *, axis_name: str, **options: Unpack[RingOptions]
) -> Estimate:
    """Return the estimate of `ring_attention` together with its precision.

    Takes the arguments of `ring_attention`, and raises its errors.

    References
    ----------
    Spec §9, §10.
    """
    found = _estimated(query, key, value, sde, axis_name, options, precise=True)
    return Estimate(*found)


def sharded_attention(
    query: Any,
    key: Any,
    value: Any,
    sde: SDE,
    *,
    mesh: Mesh,
    axis_name: str,
    **options: Unpack[RingOptions],
) -> Any:
    """Return the attention of whole sequences, computed on a ring of the devices of a mesh.

    Pads the sequences, cuts them, and puts the parts together again; `attention` of the same
    arguments gives the same. Other axes of the mesh are left to the compiler, under `jax.jit`.

    Parameters
    ----------
    query, key, value : array, shapes (..., n, c), (..., m, c), (..., m, c_v)
        Whole sequences, sharded or not.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
    mesh : jax.sharding.Mesh
    axis_name : str
        The axis of the mesh along which tokens are cut.
    **options
        As of `ring_attention`, of whole sequences.

    Returns
    -------
    array, shape (..., n, c_v)

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes or options do not fit each other, or the mesh has no such axis.

    References
    ----------
    Spec §9.
    """
    if axis_name not in mesh.shape:
        named = ", ".join(map(repr, mesh.shape))
        msg = f"`axis_name` must be an axis of `mesh`, one of {named}, got {axis_name!r}."
        raise ValueError(msg)
    check_options(options, RingOptions)
    numbers = query.shape[-2], key.shape[-2]
    causal = options.get("causal", True)
    if causal and numbers[0] != numbers[1]:
        msg = (
            f"`query` and `key` must have as many tokens as each other if `causal`, got "
            f"{numbers[0]} and {numbers[1]}. Pass causal=False, and `query_times`."
        )
        raise ValueError(msg)
    order = order_of_chunks(mesh.shape[axis_name], causal=causal)
    whole = {"query": query, "key": key, "value": value, **_told(numbers, len(order), options)}

    def laid_out(name: str, x: Any) -> Any:
        axis = -1 if name in ALONG else -2
        x = padded(jnp.asarray(x), len(order), axis, xp=XP)
        return picked(x, order, len(order), axis, xp=XP)

    tokens = {name: laid_out(name, x) for name, x in whole.items() if x is not None}
    specs = {
        name: Spec(*(None,) * (x.ndim - (1 if name in ALONG else 2)), axis_name)
        for name, x in tokens.items()
    }
    others = {name: x for name, x in options.items() if name not in whole}
    leaves, tree = jax.tree.flatten((sde, others))
    traced = [is_array(x) for x in leaves]

    def local(tokens: Any, arrays: Any) -> Any:
        given = iter(arrays)
        own = [next(given) if each else x for each, x in zip(traced, leaves, strict=True)]
        sde, others = jax.tree.unflatten(tree, own)
        found = ring_attention(**tokens, sde=sde, axis_name=axis_name, **others)
        return jnp.moveaxis(found, -2, 0)

    found = jax.shard_map(
        local,
        mesh=Mesh(mesh.devices, mesh.axis_names),  # the compiler moves tokens
        in_specs=(specs, Spec()),
        out_specs=Spec(axis_name),
        axis_names={axis_name},
        check_vma=False,
    )(tokens, [x for each, x in zip(traced, leaves, strict=True) if each])
    mean: Any = picked(found, restoring(order), len(order), 0, xp=XP)[: numbers[0]]
    return jnp.moveaxis(mean, 0, -2)


ALONG = ("query_times", "key_times", "key_mask")
"""Arguments whose last axis is that of tokens."""


def _told(numbers: tuple[int, int], chunks: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what options say of tokens, with what padding would leave unsaid."""
    found = {name: options.get(name) for name in ("anchor", *ALONG)}
    times, (queries, keys) = (found["query_times"], found["key_times"]), numbers
    if queries != keys or any(x is not None for x in times):
        dtype = jnp.result_type(float)
        times = complete_times(*times, queries, keys, dtype=dtype, device=None, xp=XP)
        found |= {"query_times": times[0], "key_times": times[1]}
    if found["key_mask"] is None and keys % chunks and not options.get("causal", True):
        found["key_mask"] = jnp.ones(keys, bool)
    return found


def _estimated(
    query: Any,
    key: Any,
    value: Any,
    sde: SDE,
    axis_name: str,
    options: RingOptions,
    *,
    precise: bool,
) -> tuple[Any, Any]:
    check_options(options, RingOptions)
    rest: dict[str, Any] = dict(options)
    key_mask, tile = rest.pop("key_mask", None), checked_tile(rest.pop("tile", None))
    index = lax.axis_index(axis_name)
    if _is_checked(index):
        msg = (
            "`ring_attention` must be called where varying axes are not checked, for its loops "
            "start from the same numbers on every device. Pass check_vma=False to jax.shard_map."
        )
        raise ValueError(msg)

    def greatest(x: Any) -> Any:
        return LAX.pmax(lax.stop_gradient(x), axis_name)

    around = Ring(index, lax.axis_size(axis_name), greatest)
    arguments = gather(query, key, value, sde, rest)
    run = partial(_run, axis_name)
    return estimated(arguments, key_mask, around, ENGINE, run, tile, precise=precise)


def _is_checked(index: Any) -> bool:
    """Whether the type of the place of a device says along which axes it varies."""
    kind: Any = jax.typeof(index)
    return bool(
        getattr(getattr(kind, "manual_axis_type", kind), "varying", getattr(kind, "vma", ()))
    )


def _run(
    axis: str,
    cargo: Cargo,
    seen: Any,
    o: Operands,
    fixed: Fixed,
    sizes: Sizes,
    *,
    precise: bool,
    xp: Any,
) -> tuple[Any, Any]:
    known = fixed[: Fixed._fields.index("heads")]
    return _around(Way(axis, Static(known, sizes, precise)), o, cargo, seen)


def _result(way: Way, o: Operands, cargo: Cargo, seen: Any) -> Result:
    """Take the keys round, and merge what they come to."""
    fixed = way.static.fixed
    own, earlier, later = _blocks(o, cargo, fixed)

    def part(block: Block, cargo: Cargo, seen: Any) -> Result:
        o_, its = problem_of(block, o, cargo, seen, fixed, xp=XP)
        return cast(Result, forward(_static(way, its), o_, its.visibility.mask))

    def step(at: Any, state: Any) -> Any:
        cargo, seen, result = state
        cargo, seen = _passed(way, (cargo, seen))

        def added(block: Block) -> Result:
            return included(result, part(block, cargo, seen), block, fixed, xp=XP)

        return cargo, seen, _chosen(way, at, earlier, later, added)

    state = cargo, seen, part(own, cargo, seen)
    return cast(Result, lax.fori_loop(1, lax.axis_size(way.axis), step, state)[2])


def _gradients(
    way: Way, o: Operands, cargo: Cargo, seen: Any, result: Result, by_mean: Any, by_precision: Any
) -> tuple[Operands, Cargo]:
    """Take the keys round with their derivatives, which end where they began."""
    fixed = way.static.fixed
    own, earlier, later = _blocks(o, cargo, fixed)

    def part(block: Block, cargo: Cargo, seen: Any) -> tuple[Operands, Cargo]:
        o_, its = problem_of(block, o, cargo, seen, fixed, xp=XP)
        rows = slice(block.queries.start, block.queries.stop)
        given = Result(*(x[:, rows] for x in result)), by_mean[:, rows], by_precision[:, rows]
        by = backward(_static(way, its), o_, its.visibility.mask, *given)
        return derivatives(by, block, o, cargo, fixed, xp=XP)

    def step(at: Any, state: Any) -> Any:
        cargo, seen, by_o, by_cargo = state
        cargo, seen, by_cargo = _passed(way, (cargo, seen, by_cargo))

        def added(block: Block) -> Any:
            return jax.tree.map(jnp.add, (by_o, by_cargo), part(block, cargo, seen))

        return cargo, seen, *_chosen(way, at, earlier, later, added)

    state = cargo, seen, *part(own, cargo, seen)
    _, _, by_o, by_cargo = lax.fori_loop(1, lax.axis_size(way.axis), step, state)
    return by_o, _passed(way, by_cargo)


def _blocks(o: Operands, cargo: Cargo, fixed: Fixed) -> tuple[Block, Block, Block]:
    return blocks_of(o.query.shape[1], cargo.key.shape[-2], causal=fixed.visibility.causal)


def _static(way: Way, fixed: Fixed) -> Static:
    fixed = fixed._replace(visibility=fixed.visibility._replace(mask=None))
    return way.static._replace(known=fixed[: Fixed._fields.index("heads")])


def _chosen(
    way: Way, at: Any, earlier: Block, later: Block, function: Callable[[Block], Any]
) -> Any:
    """Apply a function to the block of keys that have been passed on `at` times."""
    if earlier == later:
        return function(earlier)
    came_before = at <= lax.axis_index(way.axis)
    return lax.cond(came_before, partial(function, earlier), partial(function, later))


def _passed(way: Way, x: Any) -> Any:
    """Send arrays to the next device, and return those of the one before."""
    devices = lax.axis_size(way.axis)
    return LAX.ppermute(x, way.axis, [(each, (each + 1) % devices) for each in range(devices)])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _around(way: Way, o: Operands, cargo: Cargo, seen: Any) -> tuple[Any, Any]:
    """Return the mean and the precision."""
    result = _result(way, o, cargo, seen)
    return result.mean, result.precision


def _there(way: Way, o: Operands, cargo: Cargo, seen: Any) -> tuple[Any, Any]:
    result = _result(way, o, cargo, seen)
    return (result.mean, result.precision), (o, cargo, seen, result)


def _back(way: Way, saved: Any, by: Any) -> tuple[Operands, Cargo, None]:
    return *_gradients(way, *saved, *by), None


_around.defvjp(_there, _back)
