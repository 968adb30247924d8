"""Adaptive Filter Attention as a module of Flax NNX."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any, Self, Unpack

import jax
import jax.numpy as jnp
from flax import nnx

from afa_core.layer import Attended, Layer, Parameters, Start, initial, trained
from afa_core.layer.frameworks import MODULES, check_probability, check_projections, described
from afa_core.layer.pairwise import Dropout
from afa_core.layer.parameters import PROJECTIONS
from afa_core.layer.projections import Projections
from afa_core.layer.settings import arguments_of, settings_of
from afa_jax.flax_parameters import (
    Dynamics,
    Fixed,
    is_linear,
    linear,
    parameter_labels,
    project,
)
from afa_jax.layer_base import AttentionBase, CallOptions, check_jax_layer, initial_parameters

__all__ = ["AdaptiveFilterAttention", "Dynamics", "Fixed", "parameter_labels"]


class AdaptiveFilterAttention(AttentionBase, nnx.Module):
    """A layer of Adaptive Filter Attention for Flax NNX.

    Parameters
    ----------
    embed_dim : int
        Channels of the input and output tokens.
    num_heads : int
    num_kv_heads : int or None
        Heads of keys and values, a divisor of `num_heads`; each is shared by as many heads of
        queries. By default there are `num_heads`.
    modes, value_modes : int or None
        Complex modes per head, of queries and keys and of values. By default `modes` is
        ``embed_dim // (2 * num_heads)``, and `value_modes` is `modes`.
    dropout : float
        The probability that the normalised weight of a pair is set to zero; the others are divided
        by ``1 - dropout``. Weights are then those of the reference, in O(n m) memory. `step` has
        no dropout.
    implementation : str
        As in `afa_core.attention`.
    start : Start or None
        Initial values of the dynamics and the noise.
    dtype : dtype or None
        The dtype of the projections; all other parameters are at least in single precision.
    rngs : nnx.Rngs
        The projections are drawn from its stream ``params``, dropout from ``dropout``.
    **settings
        The fields of `afa_core.layer.Settings` from ``form`` on.

    Attributes
    ----------
    settings : Settings
    implementation : str
        May be changed at any time.
    q_proj, k_proj, v_proj, out_proj : nnx.Linear
        The projections, computed in the dtype of the tokens. A module that takes the place of one,
        by an adapter or a quantiser, is called in its place.
    dropout : nnx.Dropout

    Raises
    ------
    TypeError
        If a setting is unknown, or of the wrong kind.
    ValueError
        If settings do not fit each other.

    Notes
    -----
    All other parameters are attributes with the names of `afa_core.layer.initial`, of type
    `Dynamics`, a kind of `nnx.Param`. Parameters named in ``fixed``, and those without effect, are
    of type `Fixed`, which ``nnx.Optimizer(…, wrt=nnx.Param)`` does not update.

    References
    ----------
    Spec §4–§6, §10.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        modes: int | None = None,
        value_modes: int | None = None,
        dropout: float = 0.0,
        implementation: str = "auto",
        start: Start | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
        **settings: Any,
    ) -> None:
        check_probability("dropout", dropout)
        settings["num_kv_heads"] = num_kv_heads
        self.settings = settings_of(embed_dim, num_heads, modes, value_modes, **settings)
        self.implementation = implementation
        self._set_parameters(initial_parameters(self.settings, start, dtype, rngs.params()))
        self.dropout = nnx.Dropout(dropout, rngs=rngs if dropout else None)

    @classmethod
    def from_layer(
        cls,
        layer: Layer,
        *,
        dropout: float = 0.0,
        implementation: str = "auto",
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """Return the module of a layer over JAX arrays; dropout draws from `rngs`.

        Raises
        ------
        TypeError
            If a parameter is of another library.
        ValueError
            If a parameter is missing, unexpected, or of the wrong shape or dtype.
        """
        check_jax_layer(layer)
        check_probability("dropout", dropout)
        arguments = arguments_of(layer.settings)
        arguments["implementation"] = implementation
        module = nnx.eval_shape(lambda: cls(**arguments, rngs=nnx.Rngs(0)))
        module._set_parameters(layer.parameters)
        module.dropout = nnx.Dropout(dropout, rngs=rngs if dropout else None)
        return module

    @property
    def layer(self) -> Layer:
        """The layer as a value."""
        check_projections(self, is_linear, "an nnx.Linear")
        parameters = self._dynamics()
        for name, attribute in MODULES.items():
            module = getattr(self, attribute)
            parameters[f"{name}_weight"] = module.kernel[...].T
            if module.bias is not None:
                parameters[f"{name}_bias"] = module.bias[...]
        return Layer(self.settings, parameters)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
        **options: Unpack[CallOptions],
    ) -> tuple[jax.Array, Any]:
        """Filter tokens.

        Takes the arguments of `afa_core.layer.attend` that follow `settings`, except
        `need_precision`, `ring`, `dropout` and `projections`. Those that differ or are added:

        Parameters
        ----------
        deterministic : bool or None
            Whether there is no dropout; by default as set by ``train()`` and ``eval()``.
        rngs : nnx.Rngs, nnx.RngStream, array or None
            What dropout is drawn from; by default the stream of the layer.
        implementation : str or None
            By default that of the layer.
        axis_name : str or None
            Within `jax.shard_map`, the axis of the mesh over which the sequence is split
            (`ring_attention`): tokens, times and `key_mask` are then the share of this device.

        Returns
        -------
        output : array, shape (..., n, embed_dim)
        weights : array, shape (..., heads, n, m), or None
            As in `afa_core.layer.Attended`; after dropout.

        Raises
        ------
        TypeError
            If an argument is unknown, or of the wrong kind, dtype or library.
        ValueError
            If shapes or options do not fit each other, or dropout has nothing to draw from.

        References
        ----------
        Spec §4–§6, §10.
        """
        output: Any
        dropout = self._dropout(deterministic, rngs)
        output, _, weights = self._attend(query, key, value, dropout, options)
        return output, weights

    def estimate(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
        **options: Unpack[CallOptions],
    ) -> Attended:
        """Filter tokens and return the precision of the estimates too.

        Takes the arguments of the call, and raises its errors.

        Returns
        -------
        Attended
        """
        dropout = self._dropout(deterministic, rngs)
        return self._attend(query, key, value, dropout, options, need_precision=True)

    def _dropout(self, deterministic: bool | None, rngs: Any) -> Dropout | None:
        """Return what draws the factors of the weights of pairs, None without dropout."""
        dropout = self.dropout
        deterministic = dropout.deterministic if deterministic is None else deterministic
        if deterministic or not dropout.rate:
            return None
        dtype = self._dynamics()["frequency"].dtype
        return lambda shape: dropout(jnp.ones(shape, dtype), deterministic=False, rngs=rngs)

    def _parts(self) -> tuple[Parameters, Projections]:
        modules = {name: getattr(self, attribute) for name, attribute in MODULES.items()}
        projections: Any = {name: partial(project, module) for name, module in modules.items()}
        return self._dynamics(), projections

    def _dynamics(self) -> dict[str, jax.Array]:
        """Return all parameters but those of the projections."""
        names = (name for name in initial(self.settings) if not name.endswith(PROJECTIONS))
        return {name: getattr(self, name)[...] for name in names}

    def _set_parameters(self, parameters: Parameters) -> None:
        trainable = trained(self.settings)
        for name, attribute in MODULES.items():
            setattr(self, attribute, linear(parameters, name, trainable))
        for name, x in parameters.items():
            if not name.endswith(PROJECTIONS):
                setattr(self, name, Dynamics(x) if name in trainable else Fixed(x))

    def __nnx_repr__(self) -> Generator[Any, Any, None]:
        """Yield what the text of the layer shows: settings that differ from their defaults."""
        for each in super().__nnx_repr__():  # type: ignore[no-untyped-call]
            if getattr(each, "key", None) != "settings":
                yield each
                continue
            yield from (type(each)(name, x) for name, x in described(self.settings).items())
