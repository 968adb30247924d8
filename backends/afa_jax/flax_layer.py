"""Adaptive Filter Attention as a module of Flax NNX."""

from __future__ import annotations

from typing import Any, Self

from flax import nnx

from afa_core.layer import Layer, Parameters, Start, initial, trained
from afa_core.layer.settings import arguments_of, settings_of
from afa_jax.layer_base import AttentionBase, check_jax_layer, initial_parameters


class Fixed(nnx.Variable[Any]):
    """A parameter that is not trained."""


class AdaptiveFilterAttention(AttentionBase, nnx.Module):
    """A layer of Adaptive Filter Attention for Flax NNX.

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
    rngs : nnx.Rngs
        The projections are drawn from its stream ``params``.
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
    Parameters are attributes with the names of `afa_core.layer.initial`. They are of type
    `nnx.Param`; those named in ``fixed`` are of type `Fixed`, which
    ``nnx.Optimizer(…, wrt=nnx.Param)`` does not update.

    References
    ----------
    Spec §4–§6, §10.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        modes: int | None = None,
        value_modes: int | None = None,
        start: Start | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
        **settings: Any,
    ) -> None:
        self.settings = settings_of(embed_dim, num_heads, modes, value_modes, **settings)
        self._set_parameters(initial_parameters(self.settings, start, dtype, rngs.params()))

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
        module = nnx.eval_shape(lambda: cls(**arguments_of(layer.settings), rngs=nnx.Rngs(0)))
        module._set_parameters(layer.parameters)
        return module

    @property
    def layer(self) -> Layer:
        """The layer as a value."""
        names = initial(self.settings)
        return Layer(self.settings, {name: getattr(self, name)[...] for name in names})

    def _set_parameters(self, parameters: Parameters) -> None:
        trainable = trained(self.settings)
        for name, x in parameters.items():
            setattr(self, name, nnx.Param(x) if name in trainable else Fixed(x))
