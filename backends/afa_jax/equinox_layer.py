"""Adaptive Filter Attention as an Equinox module."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any, Self, Unpack

import equinox
import jax
import jax.numpy as jnp
from wadler_lindig import AbstractDoc, TextDoc, bracketed, comma, named_objs

from afa_core.layer import Attended, Layer, Parameters, Settings, Start
from afa_core.layer.frameworks import MODULES, check_probability, check_projections, described
from afa_core.layer.pairwise import Dropout
from afa_core.layer.parameters import PROJECTIONS
from afa_core.layer.projections import Projections
from afa_core.layer.settings import arguments_of, settings_of
from afa_jax.equinox_parameters import (
    is_linear,
    learnt,
    linear,
    parameter_labels,
    parameters_of,
    project,
    stop_fixed,
    with_parameters,
)
from afa_jax.layer_base import AttentionBase, CallOptions, check_jax_layer, initial_parameters

__all__ = ["AdaptiveFilterAttention", "learnt", "parameter_labels"]


class AdaptiveFilterAttention(AttentionBase, equinox.Module):
    """A layer of Adaptive Filter Attention for Equinox.

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
    key : array
        The random key that the projections are drawn with.
    **settings
        The fields of `afa_core.layer.Settings` from ``form`` on.

    Attributes
    ----------
    settings : Settings
    implementation : str
    q_proj, k_proj, v_proj, out_proj : equinox.nn.Linear
        The projections. A module that takes the place of one, by an adapter or a quantiser, is
        called in its place, on one token. Its floating-point arrays are cast to the dtype of the
        token.
    dynamics : dict of str to array
        All other parameters of `afa_core.layer.initial`: the dynamics, the noise and the gains.
    dropout : equinox.nn.Dropout or None
        None without dropout, so that all leaves are arrays.

    Raises
    ------
    TypeError
        If a setting is unknown, or of the wrong kind.
    ValueError
        If settings do not fit each other.

    Notes
    -----
    The gradients of parameters named in ``fixed``, and of those without effect, are zero. Exclude
    them from updates that do not need a gradient by `parameter_labels` or `learnt`. A module in the
    place of a projection is trained as a whole.

    References
    ----------
    Spec §4–§6, §10.
    """

    settings: Settings = equinox.field(static=True)
    implementation: str = equinox.field(static=True)
    q_proj: Any
    k_proj: Any
    v_proj: Any
    out_proj: Any
    dynamics: dict[str, jax.Array]
    dropout: equinox.nn.Dropout | None

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
        key: jax.Array,
        **settings: Any,
    ) -> None:
        check_probability("dropout", dropout)
        settings["num_kv_heads"] = num_kv_heads
        self.settings = settings_of(embed_dim, num_heads, modes, value_modes, **settings)
        self.implementation = implementation
        parameters = initial_parameters(self.settings, start, dtype, key)
        self.q_proj = linear(parameters, "query")
        self.k_proj = linear(parameters, "key")
        self.v_proj = linear(parameters, "value")
        self.out_proj = linear(parameters, "output")
        self.dynamics = {n: x for n, x in parameters.items() if not n.endswith(PROJECTIONS)}
        self.dropout = equinox.nn.Dropout(dropout) if dropout else None

    @classmethod
    def from_layer(
        cls, layer: Layer, *, dropout: float = 0.0, implementation: str = "auto"
    ) -> Self:
        """Return the module of a layer over JAX arrays.

        Raises
        ------
        TypeError
            If a parameter is of another library.
        ValueError
            If a parameter is missing, unexpected, or of the wrong shape or dtype.
        """
        check_jax_layer(layer)
        check_probability("dropout", dropout)
        options = {"dropout": dropout, "implementation": implementation, "key": jax.random.key(0)}
        skeleton = equinox.filter_eval_shape(cls, **arguments_of(layer.settings), **options)
        module: Self = with_parameters(skeleton, layer.parameters)
        return module

    @property
    def layer(self) -> Layer:
        """The layer as a value; the gradients of its fixed parameters are zero."""
        check_projections(self, is_linear, "an equinox.nn.Linear")
        return Layer(self.settings, parameters_of(stop_fixed(self)))

    def __call__(
        self,
        query: jax.Array,
        key_: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        inference: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> tuple[jax.Array, Any]:
        """Filter tokens.

        Takes the arguments of `afa_core.layer.attend` that follow `settings`, except
        `need_precision`, `ring`, `dropout` and `projections`. Those that differ or are added:

        Parameters
        ----------
        key_ : array, shape (..., m, features), or None
            The tokens of the keys, named as in `equinox.nn.MultiheadAttention`.
        key : array or None
            The random key of dropout.
        inference : bool or None
            Whether there is no dropout; by default as set by `equinox.nn.inference_mode`.
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
            If shapes or options do not fit each other, or dropout has no random key.

        References
        ----------
        Spec §4–§6, §10.
        """
        output: Any
        dropout = self._dropout(key, inference)
        output, _, weights = self._attend(query, key_, value, dropout, options)
        return output, weights

    def estimate(
        self,
        query: jax.Array,
        key_: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        inference: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> Attended:
        """Filter tokens and return the precision of the estimates too.

        Takes the arguments of the call, and raises its errors.

        Returns
        -------
        Attended
        """
        dropout = self._dropout(key, inference)
        return self._attend(query, key_, value, dropout, options, need_precision=True)

    def _dropout(self, key: jax.Array | None, inference: bool | None) -> Dropout | None:
        """Return what draws the factors of the weights of pairs, None without dropout."""
        if key is not None and not _is_random_key(key):
            kind = getattr(key, "dtype", type(key).__name__)
            msg = (
                f"`key` must be the random key of dropout, got {kind}. Pass the tokens of the keys "
                "as `key_`."
            )
            raise TypeError(msg)
        dropout = self.dropout
        if dropout is None or (dropout.inference if inference is None else inference):
            return None
        if key is None:
            msg = "`key` must be a random key with dropout, got None. Pass one, or inference=True."
            raise ValueError(msg)
        dtype = self.dynamics["frequency"].dtype
        return lambda shape: dropout(jnp.ones(shape, dtype), key=key, inference=False)

    def _parts(self) -> tuple[Parameters, Projections]:
        stopped = stop_fixed(self)
        modules = {name: getattr(stopped, attribute) for name, attribute in MODULES.items()}
        projections: Any = {name: partial(project, module) for name, module in modules.items()}
        return stopped.dynamics, projections

    def __pdoc__(self, **options: Any) -> AbstractDoc:
        """Return the text of the layer: arguments that differ from their defaults, and arrays."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        del arrays["settings"]
        return bracketed(
            begin=TextDoc(f"{type(self).__name__}("),
            docs=named_objs((described(self.settings) | arrays).items(), **options),
            sep=comma,
            end=TextDoc(")"),
            indent=options["indent"],
        )


def _is_random_key(x: Any) -> bool:
    typed = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return typed or (isinstance(x, jax.Array) and x.dtype == jnp.uint32)
