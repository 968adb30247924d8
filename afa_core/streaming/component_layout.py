"""Layouts of tokens and estimates whose modes come in groups and components."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.operands import StaticProblem


def split_groups(x: Array, static: StaticProblem, *, xp: Namespace) -> Array:
    """Split the groups of tokens, (g, tokens, 2d) to (g, groups, channels, tokens)."""
    groups = static.groups
    heads, count, width = x.shape
    x = xp.reshape(x, (heads, count, 2, groups, width // (2 * groups)))
    # by way of (g, 2d, tokens) the copy has tokens contiguous in every library
    x = xp.reshape(xp.permute_dims(x, (0, 3, 2, 4, 1)), (heads, width, count))
    return xp.reshape(x, (heads, groups, width // groups, count))


def join_groups(x: Array, *, xp: Namespace) -> Array:
    """Join the groups of tokens, (g, groups, channels, tokens) to (g, tokens, 2d)."""
    heads, groups, channels, count = x.shape
    x = xp.reshape(x, (heads, groups, 2, channels // 2, count))
    return xp.reshape(xp.permute_dims(x, (0, 4, 2, 1, 3)), (heads, count, groups * channels))


def split_components(x: Array, static: StaticProblem, *, xp: Namespace) -> Array:
    """Split the components of estimates, (g, n, s · channels) to (g, s, n, channels)."""
    heads, count, width = x.shape
    channels = width // static.components
    x = xp.reshape(x, (heads, count, static.estimates, 2, static.groups, channels // 2))
    x = xp.reshape(xp.permute_dims(x, (0, 2, 4, 3, 5, 1)), (heads, width, count))
    return xp.matrix_transpose(xp.reshape(x, (heads, static.components, channels, count)))


def join_components(x: Array, static: StaticProblem, *, xp: Namespace) -> Array:
    """Join the components of estimates, (g, s, n, channels) to (g, n, s · channels)."""
    heads, components, count, channels = x.shape
    x = xp.reshape(x, (heads, static.estimates, static.groups, count, 2, channels // 2))
    x = xp.permute_dims(x, (0, 3, 1, 4, 2, 5))
    return xp.reshape(x, (heads, count, components * channels))
