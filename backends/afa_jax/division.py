"""How arrays are divided among devices, where JAX makes it a part of their types.

Within `jax.shard_map` a type names the axes of the mesh along which an array varies; on a mesh
of explicit axes, those that divide an axis of the array. A loop must end with the types that it
began with, so what is begun from numbers is given the types of the arrays that it will meet.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

LAX: Any = lax
SHARDING: Any = jax.sharding
Spec: Any = PartitionSpec
Tree = TypeVar("Tree")


def varying_axes(tree: Any) -> frozenset[str]:
    """Return the axes of the mapped function along which one of the arrays varies."""
    return frozenset().union(*(_varying(x) for x in jax.tree.leaves(tree)))


def _varying(x: Any) -> frozenset[str]:
    kind: Any = jax.typeof(x) if hasattr(jax, "typeof") else None
    kind = getattr(kind, "manual_axis_type", kind)  # in JAX 0.10 and later
    return frozenset(getattr(kind, "varying", getattr(kind, "vma", ())) or ())


def vary_over(tree: Tree, axes: frozenset[str]) -> Tree:
    """Return arrays that vary along these axes of the mapped function too."""

    def varying(x: Any) -> Any:
        new = tuple(sorted(axes - _varying(x)))
        return LAX.pcast(x, new, to="varying") if new else x

    return jax.tree.map(varying, tree) if axes else tree


def explicit_heads(x: Any) -> Any:
    """Return the sharding of heads, the first axis of an array, None unless its type has one."""
    sharding = getattr(jax.typeof(x), "sharding", None) if hasattr(jax, "typeof") else None
    if sharding is None or sharding.spec[:1] in ((), (None,)):
        return None
    return NamedSharding(sharding.mesh, Spec(sharding.spec[0]))


def divide_alike(tree: Tree, like: Any) -> Tree:
    """Return arrays (g, …) that are divided as `like`, (g, …), is: by its heads alone."""
    tree, heads = vary_over(tree, _varying(like)), explicit_heads(like)
    if heads is None:
        return tree

    def divided(x: Any) -> Any:
        has_heads = jnp.ndim(x) > 0 and x.shape[0] == like.shape[0]
        return SHARDING.reshard(x, heads) if has_heads else x

    return cast(Tree, jax.tree.map(divided, tree))
