"""The base class of the layers for Equinox and Flax, which store the parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, TypeVar

import jax
import jax.numpy as jnp

from afa_core._array.arrays import check_array, dtype_name
from afa_core.decoding.cache import DecodeCache
from afa_core.layer import Attended, Layer, Parameters, Settings, Start, initial
from afa_core.layer.format import check_parameters
from afa_core.layer.pairwise import Dropout
from afa_core.layer.parameters import PROJECTIONS
from afa_core.layer.projections import Projections
from afa_jax.ring import ring_estimate

Result = TypeVar("Result")


class CallOptions(TypedDict, total=False):
    """The arguments of the call of a layer that follow those of its framework.

    They are those of `afa_core.layer.attend`, and `axis_name`.

    Parameters
    ----------
    implementation : str or None
        By default that of the layer.
    axis_name : str or None
        Within `jax.shard_map`, the axis of the mesh over which the sequence is split
        (`ring_attention`): tokens, times and `key_mask` are then the share of this device.
    """

    query_times: jax.Array | None
    key_times: jax.Array | None
    causal: bool
    mask: jax.Array | None
    key_mask: jax.Array | None
    logit_bias: jax.Array | None
    need_weights: bool
    implementation: str | None
    tile: int | None
    axis_name: str | None


class AttentionBase:
    """The calls of a layer of Adaptive Filter Attention; a subclass stores its parameters.

    Tokens have any number of batch axes. They are projected in their dtype; the dynamics, the
    noise and the weights are at least in single precision.
    """

    settings: Settings
    implementation: str

    @property
    @abstractmethod
    def layer(self) -> Layer:
        """The layer as a value, for `afa_jax.save` and for inference."""

    @abstractmethod
    def _parts(self) -> tuple[Parameters, Projections]:
        """Return all parameters but those of the projections, and the projections."""

    def empty_cache(self, tokens: jax.Array, **options: Any) -> DecodeCache:
        """Return an empty cache for tokens like those given.

        Takes the arguments of `afa_core.layer.empty_cache` that follow `settings`; `capacity` is
        required under `jax.jit`.
        """
        return self._call(Layer.empty_cache, {"tokens": tokens}, **options)

    def step(
        self, tokens: jax.Array, cache: DecodeCache, **options: Any
    ) -> tuple[Attended, DecodeCache]:
        """Filter new tokens (..., c, features) against a cache, and append them to it.

        Takes the arguments of `afa_core.layer.step` that follow `settings`, has its results and
        raises its errors. There is no dropout.
        """
        return self._call(Layer.step, {"tokens": tokens}, cache=cache, **options)

    def _attend(
        self,
        query: jax.Array,
        key: jax.Array | None,
        value: jax.Array | None,
        dropout: Dropout | None,
        given: CallOptions,
        *,
        need_precision: bool = False,
    ) -> Attended:
        """Filter tokens, with dropout if it is not None."""
        if unknown := set(given) - set(CallOptions.__annotations__):
            listed = ", ".join(f"`{name}`" for name in CallOptions.__annotations__)
            msg = f"arguments must be among {listed}, got `{min(unknown)}`. Correct the name."
            raise TypeError(msg)
        options: dict[str, Any] = {**given}
        axis_name = options.pop("axis_name", None)
        if axis_name is not None:
            options["ring"] = partial(ring_estimate, axis_name=axis_name)
        options["implementation"] = options.get("implementation") or self.implementation
        options |= {"dropout": dropout, "need_precision": need_precision}
        tokens = {"query": query, "key": key, "value": value}
        return self._call(Layer.__call__, tokens, **options)

    def _call(
        self, method: Callable[..., Result], tokens: Mapping[str, jax.Array | None], **options: Any
    ) -> Result:
        """Call a method of `Layer` with the projections of this layer."""
        given = {name: x for name, x in tokens.items() if x is not None or name == "query"}
        for name, x in given.items():
            _check_floating(name, x)
        parameters, projections = self._parts()
        layer = Layer(self.settings, parameters)
        return method(layer, **given, projections=projections, **options)


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
        If a parameter is missing, unexpected, or of the wrong shape or dtype.
    """
    check_parameters(layer.parameters, layer.settings, jax.Array, "a JAX array", "afa_jax.load")


def _check_floating(name: str, x: Any) -> None:
    check_array(name, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        msg = f"`{name}` must have a floating dtype, got {dtype_name(x.dtype)}. Embed it first."
        raise TypeError(msg)
