"""The base class of the layers for Equinox and Flax, which store the parameters."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from afa_core.decoding.cache import DecodeCache
from afa_core.layer import Attended, Layer, Settings, Start, initial
from afa_core.layer.format import check_parameters
from afa_core.layer.parameters import PROJECTIONS
from afa_jax.ring import ring_estimate


class AttentionBase:
    """The calls of a layer of Adaptive Filter Attention; a subclass stores its parameters.

    Projections are computed in the dtype of the queries; the dynamics, the noise and the weights
    at least in single precision. Tokens have any number of batch axes.
    """

    @property
    @abstractmethod
    def layer(self) -> Layer:
        """The layer as a value, for `afa_jax.save` and for inference."""

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        query_times: jax.Array | None = None,
        key_times: jax.Array | None = None,
        causal: bool = True,
        mask: jax.Array | None = None,
        key_mask: jax.Array | None = None,
        need_weights: bool = False,
        implementation: str = "auto",
        tile: int | None = None,
        axis_name: str | None = None,
    ) -> tuple[jax.Array, Any]:
        """Filter tokens.

        Takes the arguments of `afa_core.layer.attend` that follow `settings`, except
        `need_precision` and `ring`. The one that is added:

        Parameters
        ----------
        axis_name : str or None
            Within `jax.shard_map`, the axis of the mesh over which the sequence is split
            (`ring_attention`): tokens, times and `key_mask` are then the share of this device.

        Returns
        -------
        output : array, shape (..., n, embed_dim)
        weights : array, shape (..., heads, n, m), or None
            As in `afa_core.layer.Attended`.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind, dtype or library.
        ValueError
            If shapes or options do not fit each other.

        References
        ----------
        Spec §4–§6, §10.
        """
        attended: Any = self._in_dtype_of(query)(
            query,
            key,
            value,
            query_times=query_times,
            key_times=key_times,
            causal=causal,
            mask=mask,
            key_mask=key_mask,
            need_weights=need_weights,
            implementation=implementation,
            tile=tile,
            ring=None if axis_name is None else partial(ring_estimate, axis_name=axis_name),
        )
        return attended.output, attended.weights

    def estimate(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        **options: Any,
    ) -> Attended:
        """Filter tokens and return the precision of the estimates too.

        Takes the arguments of `afa_core.layer.attend` that follow `settings`, except
        `need_precision`, and raises its errors.

        Returns
        -------
        Attended
        """
        return self._in_dtype_of(query)(query, key, value, need_precision=True, **options)

    def empty_cache(self, tokens: jax.Array, **options: Any) -> DecodeCache:
        """Return an empty cache for tokens like those given.

        Takes the arguments of `afa_core.layer.empty_cache` that follow `settings`; `capacity` is
        required under `jax.jit`.
        """
        return self._in_dtype_of(tokens).empty_cache(tokens, **options)

    def step(
        self, tokens: jax.Array, cache: DecodeCache, **options: Any
    ) -> tuple[Attended, DecodeCache]:
        """Filter new tokens (..., c, features) against a cache, and append them to it.

        Takes the arguments of `afa_core.layer.step` that follow `settings`, has its results and
        raises its errors.
        """
        return self._in_dtype_of(tokens).step(tokens, cache, **options)

    def _in_dtype_of(self, tokens: jax.Array) -> Layer:
        """Return the layer with projections in the dtype of `tokens`, if that is floating."""
        settings, parameters = self.layer
        dtype = getattr(tokens, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            return self.layer  # raises the error

        def cast(name: str, x: Any) -> Any:
            return x.astype(dtype) if name.endswith(PROJECTIONS) else x

        return Layer(settings, {name: cast(name, x) for name, x in parameters.items()})


def initial_parameters(
    settings: Settings, start: Start | None, dtype: Any, key: jax.Array
) -> dict[str, jax.Array]:
    """Return initial parameters, projections drawn with `key`.

    Projections have the given dtype; all others are at least in single precision.
    """
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    wide = jnp.promote_types(dtype, jnp.float32)
    first = initial(settings, start)

    def array(name: str, key: jax.Array) -> jax.Array:
        each, own_dtype = first[name], dtype if name.endswith(PROJECTIONS) else wide
        if each.values:
            return jnp.reshape(jnp.asarray(each.values, own_dtype), each.shape)
        return each.deviation * jax.random.normal(key, each.shape, own_dtype)

    return dict(zip(first, map(array, first, jax.random.split(key, len(first))), strict=True))


def check_jax_layer(layer: Layer) -> None:
    """Raise unless a layer's parameters are JAX arrays that match its settings.

    Raises
    ------
    TypeError
        If a parameter is of another library.
    ValueError
        If a parameter is missing, unexpected, or of the wrong shape.
    """
    check_parameters(layer.parameters, layer.settings, jax.Array, "a JAX array", "afa_jax.load")
