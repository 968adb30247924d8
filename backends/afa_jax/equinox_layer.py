"""Adaptive Filter Attention as an Equinox module."""

from __future__ import annotations

from typing import Any, Self

import equinox
import jax

from afa_core.layer import Layer, Settings, Start, trained
from afa_core.layer.settings import settings_of
from afa_jax.layer_base import Attending, arguments_of, checked, drawn


class AdaptiveFilterAttention(Attending, equinox.Module):
    """A layer of Adaptive Filter Attention for Equinox.

    Parameters
    ----------
    embed_dim : int
        Channels of the tokens that come in and go out.
    num_heads : int
    modes, value_modes : int or None
        Complex modes in each head of queries and keys, and of values; by default
        ``embed_dim // (2 * num_heads)``, and as many.
    start : Start or None
        Where dynamics and noise start.
    dtype : dtype or None
        Of the projections; all other parameters are at least in single precision.
    key : array
        What the projections are drawn with.
    **settings
        The fields of `afa_core.layer.Settings` from ``form`` on.

    Raises
    ------
    TypeError
        If a setting is unknown, or of the wrong kind.
    ValueError
        If settings do not fit each other.

    Notes
    -----
    Parameters that ``fixed`` names get gradients of zero. What moves parameters without a
    gradient, such as weight decay, is kept from them by ``optax.masked(…, learnt(model))`` or
    ``equinox.partition(model, learnt(model))``.

    References
    ----------
    Spec §4–§6, §10.
    """

    settings: Settings = equinox.field(static=True)
    parameters: dict[str, jax.Array]

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        modes: int | None = None,
        value_modes: int | None = None,
        start: Start | None = None,
        dtype: Any = None,
        key: jax.Array,
        **settings: Any,
    ) -> None:
        self.settings = settings_of(embed_dim, num_heads, modes, value_modes, **settings)
        self.parameters = drawn(self.settings, start, dtype, key)

    @classmethod
    def from_layer(cls, layer: Layer) -> Self:
        """Return the module of a layer, its parameters over JAX arrays.

        Raises
        ------
        TypeError
            If an array is of another library.
        ValueError
            If one is missing, misshapen or one too many.
        """
        settings, parameters = checked(layer)
        key = jax.random.key(0)
        module: Self = equinox.filter_eval_shape(cls, **arguments_of(settings), key=key)
        held: Self = equinox.tree_at(lambda it: it.parameters, module, dict(parameters))
        return held

    @property
    def layer(self) -> Layer:
        """The layer as a value; no gradient reaches its fixed parameters."""
        moving = trained(self.settings)
        return Layer(
            self.settings,
            {
                name: x if name in moving else jax.lax.stop_gradient(x)
                for name, x in self.parameters.items()
            },
        )


def learnt(model: Any) -> Any:
    """Return which arrays of a model training moves, a tree of truth values.

    For ``equinox.partition`` and ``optax.masked``: true for floating arrays, but for the fixed
    parameters of the layers in it.
    """

    def is_layer(x: object) -> bool:
        return isinstance(x, AdaptiveFilterAttention)

    def of(x: Any) -> Any:
        if not is_layer(x):
            return equinox.is_inexact_array(x)
        moving = trained(x.settings)
        flags = {name: name in moving for name in x.parameters}
        return equinox.tree_at(lambda it: it.parameters, x, flags)

    return jax.tree.map(of, model, is_leaf=is_layer)
