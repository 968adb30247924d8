"""What the layers for Equinox and Flax share: all but how they hold their parameters."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from afa_core.decoding.cache import DecodeCache
from afa_core.layer import Attended, Layer, Settings, Start, initial
from afa_core.layer.format import check
from afa_core.layer.parameters import PROJECTIONS
from afa_jax.ring import ring_estimate


class Attending:
    """A layer of Adaptive Filter Attention, whatever holds its parameters.

    Projections are computed in the dtype of the queries; the dynamics, the noise and the weights
    at least in single precision. Leading axes are free: tokens may be (n, features).
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

        Parameters
        ----------
        query : array, shape (..., n, embed_dim)
        key, value : array, shape (..., m, embed_dim), or None
            By default the queries, and the keys.
        query_times : array, shape (..., n), or None
        key_times : array, shape (..., m), or None
            By default those of the queries where these are the keys; else as in `attention`.
        causal : bool
            Whether a query sees the keys at or before it only.
        mask : boolean array, broadcastable to (..., heads, n, m), or None
            True attends. One for each row of a batch is (batch, 1, n, m).
        key_mask : boolean array, shape (..., m), or None
            True for tokens, False for padding, which leaves no trace whatever is in it.
        need_weights : bool
            Whether to return weights; they stand in memory for all pairs.
        implementation, tile
            As in `attention`.
        axis_name : str or None
            Within `jax.shard_map`, the axis of the mesh along which the sequence is cut: tokens
            are then the share of a device, and keys go round (`ring_attention`).

        Returns
        -------
        output : array, shape (..., n, embed_dim)
        weights : array, shape (..., heads, n, m), or None
            Where asked for, (..., heads, n, m, modes) in the diagonal form and a pair of
            (..., heads, n, m) in the radial–tangential one.

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
        found: Any = self._in(query)(
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
        return found.output, found.weights

    def estimate(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        **options: Any,
    ) -> Attended:
        """Filter tokens, and say how precise the estimates are; takes the arguments of a call.

        Returns
        -------
        Attended
            With `precision`, as in `Estimate`.
        """
        return self._in(query)(query, key, value, need_precision=True, **options)

    def empty_cache(self, tokens: jax.Array, **options: Any) -> DecodeCache:
        """Return a cache of no token for tokens like those given.

        Takes the arguments of `afa_core.layer.empty_cache`; under `jax.jit` it needs a
        ``capacity``.
        """
        return self._in(tokens).empty_cache(tokens, **options)

    def step(
        self, tokens: jax.Array, cache: DecodeCache, **options: Any
    ) -> tuple[Attended, DecodeCache]:
        """Filter new tokens (..., c, features) against a cache, and append them to it.

        Takes the arguments of `afa_core.layer.step`, and raises its errors.
        """
        return self._in(tokens).step(tokens, cache, **options)

    def _in(self, tokens: jax.Array) -> Layer:
        """Return the layer with projections in the dtype of some tokens."""
        settings, parameters = self.layer
        dtype = getattr(tokens, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            return self.layer  # which refuses them

        def cast(name: str, x: Any) -> Any:
            return x.astype(dtype) if name.endswith(PROJECTIONS) else x

        return Layer(settings, {name: cast(name, x) for name, x in parameters.items()})


def arguments_of(settings: Settings) -> dict[str, Any]:
    """Return the arguments of a constructor from settings."""
    fields = settings._asdict()
    return {"embed_dim": fields.pop("features"), "num_heads": fields.pop("heads"), **fields}


def drawn(
    settings: Settings, start: Start | None, dtype: Any, key: jax.Array
) -> dict[str, jax.Array]:
    """Return the first parameters: projections in a dtype, others at least in single precision."""
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    wide = jnp.promote_types(dtype, jnp.float32)
    first = initial(settings, start)

    def array(name: str, key: jax.Array) -> jax.Array:
        each, own = first[name], dtype if name.endswith(PROJECTIONS) else wide
        if each.values:
            return jnp.reshape(jnp.asarray(each.values, own), each.shape)
        return each.deviation * jax.random.normal(key, each.shape, own)

    return dict(zip(first, map(array, first, jax.random.split(key, len(first))), strict=True))


def checked(layer: Layer) -> Layer:
    """Return a layer whose parameters are those of its settings, over JAX arrays.

    Raises
    ------
    TypeError
        If an array is of another library.
    ValueError
        If one is missing, misshapen or one too many.
    """
    check({name: tuple(x.shape) for name, x in layer.parameters.items()}, layer.settings)
    for name, x in layer.parameters.items():
        if not isinstance(x, jax.Array):
            msg = (
                f"`{name}` must be a JAX array, got {type(x).__name__}. Load the layer with "
                "`afa_jax.load`, or convert its arrays."
            )
            raise TypeError(msg)
    return layer
