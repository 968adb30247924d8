"""Ring attention of whole sequences, which are divided among the devices of a mesh (spec §9)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from afa_core._array.arrays import is_array, library_name
from afa_core._checks.arguments import check, check_options, collect_arguments
from afa_core._checks.masks import check_key_mask
from afa_core._checks.times import complete_times
from afa_core.distributed.chunks import (
    chunk_order,
    inverse_permutation,
    pad_tokens,
    take_chunks,
)
from afa_core.distributed.shards import RingOptions
from afa_core.model.sde import SDE, DiagonalSDE
from afa_jax.ring.attention import ring_attention

XP: Any = jnp
Spec: Any = PartitionSpec

TOKENS_LAST = ("query_times", "key_times", "key_mask")
"""Arguments whose last axis is the axis of tokens whatever the model."""


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
    """Return the attention of whole sequences, computed by ring attention on a mesh of devices.

    The operation of `afa_core.attention`, with the same results. It pads the sequences, divides
    them along one axis of the mesh, and restores their order. Other axes of the mesh are left to
    the compiler, under `jax.jit`.

    Parameters
    ----------
    query, key, value : array, shapes (..., n, c), (..., m, c), (..., m, c_v)
        Whole sequences, sharded or not.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
    mesh : jax.sharding.Mesh
    axis_name : str
        The axis of the mesh along which tokens are divided.
    **options
        Those of `ring_attention`, for whole sequences.

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
    _check_mesh(mesh, axis_name)
    _check_arguments(query, key, value, sde, options)
    queries, keys = query.shape[-2], key.shape[-2]
    causal = options.get("causal", True)
    _check_numbers(queries, keys, causal=causal)
    order = chunk_order(mesh.shape[axis_name], causal=causal)
    whole = {
        "query": query,
        "key": key,
        "value": value,
        **_token_options(queries, keys, len(order), options),
    }

    def divide(axis: int, x: Any) -> Any:
        x = pad_tokens(x, len(order), axis, xp=XP)
        return take_chunks(x, order, len(order), axis, xp=XP)

    axes = {name: token_axis(name, sde) for name in whole}
    tokens = {name: jax.tree.map(partial(divide, axes[name]), x) for name, x in whole.items()}
    others = {name: x for name, x in options.items() if name not in whole}
    chunks = _map_ring(tokens, axes, sde, others, mesh, axis_name)
    mean: Any = take_chunks(chunks, inverse_permutation(order), len(order), 0, xp=XP)[:queries]
    return jnp.moveaxis(mean, 0, -2)


def token_axis(name: str, sde: SDE) -> int:
    """Return which axis of an argument is that of tokens, counted from the end."""
    variances = name == "query_variance" and not isinstance(sde, DiagonalSDE)
    return -1 if variances or name in TOKENS_LAST else -2


def _map_ring(
    tokens: dict[str, Any],
    axes: dict[str, int],
    sde: SDE,
    others: dict[str, Any],
    mesh: Mesh,
    axis_name: str,
) -> Any:
    """Map `ring_attention` over the devices of an axis; return its results, tokens first."""

    def spec(axis: int, x: Any) -> Any:
        return Spec(*(None,) * (x.ndim + axis), axis_name)

    specs = {name: jax.tree.map(partial(spec, axes[name]), x) for name, x in tokens.items()}
    leaves, tree = jax.tree.flatten((sde, others))
    traced = [is_array(x) for x in leaves]

    def local(tokens: dict[str, Any], arrays: list[Any]) -> Any:
        remaining = iter(arrays)
        own = [next(remaining) if each else x for each, x in zip(traced, leaves, strict=True)]
        sde, others = jax.tree.unflatten(tree, own)
        mean = ring_attention(**tokens, sde=sde, axis_name=axis_name, **others)
        return jnp.moveaxis(mean, -2, 0)

    return jax.shard_map(
        local,
        mesh=Mesh(mesh.devices, mesh.axis_names),  # Auto axes: the compiler moves tokens
        in_specs=(specs, Spec()),
        out_specs=Spec(axis_name),
        axis_names={axis_name},
        check_vma=False,
    )(tokens, [x for each, x in zip(traced, leaves, strict=True) if each])


def _check_mesh(mesh: Mesh, axis_name: str) -> None:
    if axis_name not in mesh.shape:
        names = ", ".join(map(repr, mesh.shape))
        msg = f"`axis_name` must be an axis of `mesh`, one of {names}, got {axis_name!r}."
        raise ValueError(msg)


def _check_arguments(query: Any, key: Any, value: Any, sde: SDE, options: RingOptions) -> None:
    """Check what is given as `attention` does, before operations of JAX convert it."""
    check_options(options, RingOptions)
    rest: dict[str, Any] = {name: x for name, x in options.items() if name != "tile"}
    key_mask = rest.pop("key_mask", None)
    xp, _ = check(collect_arguments(query, key, value, sde, rest))
    if library_name(xp) != "jax":
        msg = (
            f"`query` must come from the library of `mesh` (jax), got {library_name(xp)}. "
            "Convert all arrays; subtract the first time from time stamps before."
        )
        raise TypeError(msg)
    if key_mask is not None:
        check_key_mask("key_mask", key_mask, key, xp=xp)


def _check_numbers(queries: int, keys: int, *, causal: bool) -> None:
    if causal and queries != keys:
        msg = (
            f"`query` and `key` must have as many tokens as each other if `causal`, got "
            f"{queries} and {keys}. Pass causal=False, and `query_times`."
        )
        raise ValueError(msg)


def _token_options(
    queries: int, keys: int, chunks: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options that have an axis of tokens, with the defaults that padding would change.

    These are times where they are given or queries and keys differ in number, and a key mask that
    hides the padding of keys where causality does not.
    """
    found = {name: options.get(name) for name in ("anchor", "query_variance", *TOKENS_LAST)}
    times = found["query_times"], found["key_times"]
    if queries != keys or any(x is not None for x in times):
        dtype = jnp.result_type(float)
        times = complete_times(*times, queries, keys, dtype=dtype, device=None, xp=XP)
        found |= {"query_times": times[0], "key_times": times[1]}
    if found["key_mask"] is None and keys % chunks and not options.get("causal", True):
        found["key_mask"] = jnp.ones(keys, bool)
    return found
