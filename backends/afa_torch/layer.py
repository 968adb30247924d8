"""Adaptive Filter Attention as a PyTorch module: it holds what `afa_core.layer` computes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from afa_core import DecodeCache
from afa_core.layer import (
    Attended,
    Layer,
    Settings,
    Start,
    attend,
    empty_cache,
    initial,
    step,
    trained,
)
from afa_core.layer.parameters import PROJECTIONS
from afa_core.layer.settings import settings_of
from afa_torch.arguments import check_parameters, check_state, check_tokens, refuse

Result = TypeVar("Result")


class AdaptiveFilterAttention(nn.Module):
    """Adaptive Filter Attention where `nn.MultiheadAttention(batch_first=True)` stands.

    Parameters
    ----------
    embed_dim : int
        Channels of the tokens that come in and go out.
    num_heads : int
    modes, value_modes : int or None
        Complex modes in each head of queries and keys, and of values; by default
        ``embed_dim // (2 * num_heads)``, and as many.
    implementation : str
        As in `afa_core.attention`. Where `torch.export` or `torch.onnx` look on, ``"auto"`` is
        the reference, of standard operators only.
    start : Start or None
        Where dynamics and noise start.
    device : device or None
    dtype : dtype or None
        Of the projections; dynamics and noise are at least in single precision.
    **settings
        The fields of `afa_core.layer.Settings` from ``form`` on.

    Attributes
    ----------
    settings : Settings
    implementation : str
        May be changed at any time.

    Raises
    ------
    TypeError
        If a setting is unknown, or of the wrong kind.
    ValueError
        If settings do not fit each other.

    Notes
    -----
    Parameters are those of `afa_core.layer.initial`; what ``fixed`` names are buffers. Under
    `torch.autocast` tokens are projected in its dtype and filtered in single precision. Weights of
    the kind ``"uniform"`` depend on no query or key, whose projections then get no gradient:
    `DistributedDataParallel` asks for ``find_unused_parameters=True``.

    `torch.export` and `torch.onnx` make programs for all numbers of rows and tokens from examples
    of two or more of each; sizes of one they take for constants.

    References
    ----------
    Spec §4–§6, §10.

    Examples
    --------
    >>> layer = AdaptiveFilterAttention(8, 2, form="diagonal")
    >>> output, _ = layer(torch.randn(3, 10, 8))
    >>> output.shape
    torch.Size([3, 10, 8])
    """

    query_weight: Tensor

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        modes: int | None = None,
        value_modes: int | None = None,
        implementation: str = "auto",
        start: Start | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        refuse(settings)
        super().__init__()
        self.settings = settings_of(embed_dim, num_heads, modes, value_modes, **settings)
        self.implementation = implementation
        self.start = start
        self._names = self._declare(device, torch.get_default_dtype() if dtype is None else dtype)
        self.reset_parameters()
        self.register_load_state_dict_pre_hook(check_state)  # type: ignore[no-untyped-call]

    def _declare(self, device: Any, dtype: torch.dtype) -> tuple[str, ...]:
        moving, wide = trained(self.settings), torch.promote_types(dtype, torch.float32)
        first = initial(self.settings, self.start)
        for name, each in first.items():
            own = dtype if name.endswith(PROJECTIONS) else wide
            x = torch.empty(each.shape, device=device, dtype=own)
            if name in moving:
                self.register_parameter(name, nn.Parameter(x))
            else:
                self.register_buffer(name, x)
        return tuple(first)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the projections anew, and put all else where it starts."""
        for name, each in initial(self.settings, self.start).items():
            x: Tensor = getattr(self, name)
            if each.values:
                x.copy_(torch.tensor(each.values, dtype=torch.float64).reshape(each.shape))
            else:
                x.normal_(0.0, each.deviation)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        implementation: str = "auto",
        device: Any = None,
    ) -> Self:
        """Return the layer of some settings.

        Parameters
        ----------
        settings : Settings
        parameters : mapping of str to Tensor, or None
            Copied, their dtypes kept; by default those that a layer starts at.
        implementation : str
        device : device or None
            By default that of the parameters.

        Raises
        ------
        TypeError
            If a parameter is of another library.
        ValueError
            If settings do not fit each other, or a parameter is missing, misshapen or one too many.
        """
        fields = settings._asdict()
        sizes, fields["implementation"] = (
            (fields.pop("features"), fields.pop("heads")),
            implementation,
        )
        if parameters is None:
            return cls(*sizes, **fields, device=device)
        check_parameters(parameters, settings)
        made = cls(*sizes, **fields, device="meta")
        own = {name: x.detach().to(device, copy=True) for name, x in parameters.items()}
        made.load_state_dict(own, assign=True)
        return made

    @classmethod
    def from_layer(cls, layer: Layer, **options: Any) -> Self:
        """Return a copy of a layer over tensors; takes the options of `from_settings`."""
        return cls.from_settings(*layer, **options)

    @property
    def layer(self) -> Layer:
        """The layer as a value, over the module's own tensors."""
        return Layer(self.settings, {name: getattr(self, name) for name in self._names})

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        query_times: Tensor | None = None,
        key_times: Tensor | None = None,
        causal: bool = True,
        mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        need_weights: bool = False,
        implementation: str | None = None,
        tile: int | None = None,
        mesh: DeviceMesh | None = None,
        **others: Any,
    ) -> tuple[Tensor, Any]:
        """Filter tokens.

        Parameters
        ----------
        query : Tensor, shape (..., n, embed_dim)
            With no axis of batch, one or several.
        key, value : Tensor, shape (..., m, embed_dim), or None
            By default the queries, and the keys.
        query_times : Tensor, shape (..., n), or None
        key_times : Tensor, shape (..., m), or None
            By default those of the queries where these are the keys; else as in
            `afa_core.attention`.
        causal : bool
            Whether a query sees the keys at or before it only.
        mask : boolean Tensor, broadcastable to (..., heads, n, m), or None
            True attends. One for each row of a batch is (batch, 1, n, m).
        key_mask : boolean Tensor, shape (..., m), or None
            True for tokens, False for padding, which leaves no trace whatever is in it.
        need_weights : bool
            Whether to return weights; they stand in memory for all pairs.
        implementation : str or None
            By default that of the layer.
        tile : int or None
            As in `afa_core.attention`.
        mesh : DeviceMesh or None
            A mesh of one axis, along which the sequence is cut: tokens, times and `key_mask` are
            then what `shard` cuts for this rank, and keys go round (`ring_attention`). Parameters
            get the part of their gradients that this rank's tokens make: `sum_gradients`.
        **others
            None: those of `nn.MultiheadAttention` are refused with what stands for them.

        Returns
        -------
        output : Tensor, shape (..., n, embed_dim)
        weights : Tensor, shape (..., heads, n, m), or None
            Where asked for; (..., heads, n, m, modes) in the diagonal form, and a pair of
            (..., heads, n, m) in the radial–tangential one.

        Raises
        ------
        TypeError
            If an argument is unknown, or of the wrong kind, dtype or library.
        ValueError
            If shapes, devices or options do not fit each other.

        References
        ----------
        Spec §4–§6, §10.
        """
        output: Any
        output, _, weights = self._attend(
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
            mesh=mesh,
            **others,
        )
        return output, weights

    def estimate(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, **options: Any
    ) -> Attended:
        """Filter tokens, and say how precise the estimates are.

        Takes the arguments of a call, and raises its errors.

        Returns
        -------
        Attended
            With the precision that `afa_core.estimate` returns.
        """
        return self._attend(query, key, value, need_precision=True, **options)

    def empty_cache(
        self, tokens: Tensor, *, capacity: int | None = None, **given: Tensor
    ) -> DecodeCache:
        """Return a cache of no token for tokens like those given, (..., any number, embed_dim).

        Takes the arguments of `afa_core.layer.empty_cache`.
        """
        return self._run(
            lambda p, tokens: empty_cache(p, self.settings, tokens, capacity=capacity, **given),
            tokens=tokens,
        )

    def step(
        self,
        tokens: Tensor,
        cache: DecodeCache,
        *,
        time: Tensor | None = None,
        mask: Tensor | None = None,
        need_precision: bool = False,
    ) -> tuple[Attended, DecodeCache]:
        """Filter new tokens (..., c, embed_dim) against a cache, and append them to it.

        Takes the arguments of `afa_core.layer.step`, returns what it does and raises its errors.
        """
        options: Any = {"time": time, "mask": mask, "need_precision": need_precision}
        return self._run(
            lambda p, tokens: step(p, self.settings, tokens, cache, **options), tokens=tokens
        )

    def extra_repr(self) -> str:
        """Name the sizes, and the settings that are not the usual ones."""
        usual = Settings._field_defaults | {"features": ..., "heads": ...}
        told = {name: x for name, x in self.settings._asdict().items() if x != usual.get(name)}
        sizes = f"{told.pop('features')}, {told.pop('heads')}"
        return ", ".join([sizes, *(f"{name}={x!r}" for name, x in told.items())])

    def _attend(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        *,
        implementation: str | None = None,
        mesh: DeviceMesh | None = None,
        **options: Any,
    ) -> Attended:
        refuse(options)
        if mesh is not None:
            from afa_torch.ring import ring_estimate  # PyTorch may be built without ranks

            options["ring"] = partial(ring_estimate, mesh=mesh)
        chosen = self.implementation if implementation is None else implementation
        if chosen == "auto" and torch.compiler.is_exporting():
            chosen = "reference"  # of standard operators only
        options["implementation"] = chosen
        return self._run(
            lambda p, **tokens: attend(p, self.settings, **tokens, **options),
            query=query,
            key=key,
            value=value,
        )

    def _run(self, function: Callable[..., Result], **tokens: Tensor | None) -> Result:
        """Call a function on parameters and tokens, narrow where precision is mixed."""
        parameters, device = self.layer.parameters, self.query_weight.device.type
        given = {name: x for name, x in tokens.items() if x is not None}
        if not _mixes(self.query_weight):
            check_tokens(given, self.query_weight.dtype)
            return function(parameters, **tokens)
        check_tokens(given, None)
        narrow = torch.get_autocast_dtype(device)
        parameters = {
            name: x.to(narrow) if name.endswith(PROJECTIONS) else x
            for name, x in parameters.items()
        }
        tokens |= {name: x.to(narrow) for name, x in given.items()}
        with torch.autocast(device, enabled=False):
            return function(parameters, **tokens)


def _mixes(x: Tensor) -> bool:
    """Whether projections by this weight are computed in the narrow dtype of `torch.autocast`."""
    device = x.device.type
    known = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return known and x.dtype != torch.float64
