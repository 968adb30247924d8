"""Adaptive Filter Attention as a module of Flax NNX."""

from __future__ import annotations

from typing import Any, Self

from flax import nnx

from afa_core.layer import Layer, Parameters, Start, initial, trained
from afa_core.layer.settings import settings_of
from afa_jax.layer_base import Attending, arguments_of, checked, drawn


class Fixed(nnx.Variable[Any]):
    """A parameter that training leaves alone."""


class AdaptiveFilterAttention(Attending, nnx.Module):
    """A layer of Adaptive Filter Attention for Flax NNX.

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
    rngs : nnx.Rngs
        What the projections are drawn with: its stream ``params``.
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
    Parameters are attributes by the names of `afa_core.layer.initial`: `nnx.Param`, but `Fixed`
    where ``fixed`` names them, which ``nnx.Optimizer(…, wrt=nnx.Param)`` does not see.

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
        self._hold(drawn(self.settings, start, dtype, rngs.params()))

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
        module = nnx.eval_shape(lambda: cls(**arguments_of(settings), rngs=nnx.Rngs(0)))
        module._hold(parameters)
        return module

    @property
    def layer(self) -> Layer:
        """The layer as a value."""
        names = initial(self.settings)
        return Layer(self.settings, {name: getattr(self, name)[...] for name in names})

    def _hold(self, parameters: Parameters) -> None:
        moving = trained(self.settings)
        for name, x in parameters.items():
            setattr(self, name, nnx.Param(x) if name in moving else Fixed(x))
