"""Adaptive Filter Attention as an Equinox module."""

from __future__ import annotations

from typing import Any, Self

import equinox
import jax

from afa_core.layer import Layer, Settings, Start, trained
from afa_core.layer.settings import arguments_of, settings_of
from afa_jax.layer_base import AttentionBase, check_jax_layer, initial_parameters


class AdaptiveFilterAttention(AttentionBase, equinox.Module):
    """A layer of Adaptive Filter Attention for Equinox.

    Parameters
    ----------
    embed_dim : int
        Channels of the input and output tokens.
    num_heads : int
    modes, value_modes : int or None
        Complex modes per head, of queries and keys and of values. By default `modes` is
        ``embed_dim // (2 * num_heads)``, and `value_modes` is `modes`.
    start : Start or None
        Initial values of the dynamics and the noise.
    dtype : dtype or None
        The dtype of the projections; all other parameters are at least in single precision.
    key : array
        The random key that the projections are drawn with.
    **settings
        The fields of `afa_core.layer.Settings` from ``form`` on, `kv_heads` as ``num_kv_heads``.

    Raises
    ------
    TypeError
        If a setting is unknown, or of the wrong kind.
    ValueError
        If settings do not fit each other.

    Notes
    -----
    The gradients of parameters named in ``fixed`` are zero. Exclude them from updates that do not
    need a gradient, such as weight decay, by ``optax.masked(…, learnt(model))`` or
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
        self.parameters = initial_parameters(self.settings, start, dtype, key)

    @classmethod
    def from_layer(cls, layer: Layer) -> Self:
        """Return the module of a layer over JAX arrays.

        Raises
        ------
        TypeError
            If a parameter is of another library.
        ValueError
            If a parameter is missing, unexpected, or of the wrong shape.
        """
        check_jax_layer(layer)
        key = jax.random.key(0)
        skeleton = equinox.filter_eval_shape(cls, **arguments_of(layer.settings), key=key)
        module: Self = equinox.tree_at(
            lambda module: module.parameters, skeleton, dict(layer.parameters)
        )
        return module

    @property
    def layer(self) -> Layer:
        """The layer as a value; the gradients of its fixed parameters are zero."""
        trainable = trained(self.settings)
        return Layer(
            self.settings,
            {
                name: x if name in trainable else jax.lax.stop_gradient(x)
                for name, x in self.parameters.items()
            },
        )


def learnt(model: Any) -> Any:
    """Return the mask of the learned parameters of a model, a tree of booleans.

    For ``equinox.partition`` and ``optax.masked``: True for floating-point arrays, except for the
    fixed parameters of the layers in the model.
    """

    def is_layer(x: object) -> bool:
        return isinstance(x, AdaptiveFilterAttention)

    def mask(x: Any) -> Any:
        if not is_layer(x):
            return equinox.is_inexact_array(x)
        trainable = trained(x.settings)
        flags = {name: name in trainable for name in x.parameters}
        return equinox.tree_at(lambda layer: layer.parameters, x, flags)

    return jax.tree.map(mask, model, is_leaf=is_layer)
