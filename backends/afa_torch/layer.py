"""Adaptive Filter Attention as a PyTorch module: the parameters of `afa_core.layer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from afa_core import DecodeCache
from afa_core.layer import Attended, Layer, Settings, Start, initial
from afa_core.layer.format import check_parameters
from afa_core.layer.frameworks import check_probability, described
from afa_core.layer.settings import arguments_of, settings_of
from afa_torch.arguments import prepare_state, reject_foreign
from afa_torch.calls import attend, call
from afa_torch.parameters import SinglePrecision, initialise, parameter_groups, register
from afa_torch.projections import check_linear, parameter


class AdaptiveFilterAttention(SinglePrecision):
    """Adaptive Filter Attention, in place of ``nn.MultiheadAttention(batch_first=True)``.

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
        In training, the probability that the normalised weight of a pair is set to zero, as in
        ``nn.MultiheadAttention``; the others are divided by ``1 - dropout``. Weights are then those
        of the reference, in O(n m) memory. `step` has no dropout.
    implementation : str
        As in `afa_core.attention`. Under `torch.export` and `torch.onnx`, ``"auto"`` is the
        reference, which consists of standard operators.
    start : Start or None
        Initial values of the dynamics and the noise.
    device : device or None
    dtype : dtype or None
        The dtype of the projections; dynamics and noise are at least in single precision.
    **settings
        The fields of `afa_core.layer.Settings` from ``form`` on.

    Attributes
    ----------
    settings : Settings
    dropout : float
    implementation : str
        Like `dropout`, may be changed at any time.
    q_proj, k_proj, v_proj, out_proj : Linear
        The projections. A module that takes the place of one, by an adapter or a quantiser, is
        called in its place.

    Raises
    ------
    TypeError
        If a setting is unknown, or of the wrong kind.
    ValueError
        If settings do not fit each other.

    Notes
    -----
    The parameters are those of `afa_core.layer.initial`, ``query_weight`` under the name
    ``q_proj.weight``; those named in ``fixed`` are buffers, and so are those without effect:
    ``"uniform"`` weights do not depend on queries and keys, so that their projections have no
    gradient. `load_state_dict` accepts both names of projections. Under `torch.autocast` tokens
    are projected in its dtype and filtered in single precision.

    `torch.export` and `torch.onnx` make programs for any batch size and number of tokens from
    examples with at least two of each; they treat sizes of one as constants.

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

    has_dynamics: ClassVar[bool] = True  # as parameters of its own, see `parameter_groups`

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
        device: Any = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        reject_foreign(settings)
        check_probability("dropout", dropout)
        super().__init__()
        settings["num_kv_heads"] = num_kv_heads
        self.settings = settings_of(embed_dim, num_heads, modes, value_modes, **settings)
        self.dropout, self.implementation = dropout, implementation
        self.start = start
        self._names = tuple(initial(self.settings, start))
        register(self, self.settings, device, dtype or torch.get_default_dtype())
        self.reset_parameters()
        self.register_load_state_dict_pre_hook(prepare_state)  # type: ignore[no-untyped-call]

    def reset_parameters(self) -> None:
        """Draw new projections, and reset all other parameters to their initial values.

        Weights of projections are normal with the variance of Glorot for complex modes, biases
        zero; the dynamics and the noise are those of `start` (`afa_core.layer.initial`).
        """
        initialise(self, self.settings, self.start)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        dropout: float = 0.0,
        implementation: str = "auto",
        device: Any = None,
    ) -> Self:
        """Return a layer of given settings.

        Parameters
        ----------
        settings : Settings
        parameters : mapping of str to Tensor, or None
            Copied, in their dtypes; by default the initial values.
        dropout : float
        implementation : str
        device : device or None
            By default that of the parameters.

        Raises
        ------
        TypeError
            If a parameter is of another library.
        ValueError
            If settings do not fit each other, or a parameter is missing, unexpected, or of the
            wrong shape or dtype.
        """
        arguments = arguments_of(settings) | {"dropout": dropout, "implementation": implementation}
        if parameters is None:
            return cls(**arguments, device=device)
        check_parameters(parameters, settings, Tensor, "a torch.Tensor", "afa_torch.load")
        module = cls(**arguments, device="meta")
        state = {name: x.detach().to(device, copy=True) for name, x in parameters.items()}
        module.load_state_dict(state, assign=True)
        return module

    @classmethod
    def from_layer(cls, layer: Layer, **options: Any) -> Self:
        """Return a copy of a layer over tensors; takes the options of `from_settings`."""
        return cls.from_settings(*layer, **options)

    @property
    def layer(self) -> Layer:
        """The layer as a value, which shares the module's tensors."""
        check_linear(self)
        return Layer(self.settings, {name: parameter(self, name) for name in self._names})

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
        logit_bias: Tensor | None = None,
        need_weights: bool = False,
        implementation: str | None = None,
        tile: int | None = None,
        mesh: DeviceMesh | None = None,
        **others: Any,
    ) -> tuple[Tensor, Any]:
        """Filter tokens.

        Takes the arguments of `afa_core.layer.attend` that follow `settings`, except
        `need_precision`, `ring`, `dropout` and `projections`. Those that differ or are added:

        Parameters
        ----------
        implementation : str or None
            By default that of the layer.
        mesh : DeviceMesh or None
            A mesh of one axis over which the sequence is split (`ring_attention`): tokens, times
            and `key_mask` are then the share of this rank, from `shard`. Parameters get the part
            of their gradients that is due to this rank's tokens, to be added by `sum_gradients`.
        **others
            None. An argument of `nn.MultiheadAttention` that this layer does not have raises a
            TypeError that names its replacement.

        Returns
        -------
        output : Tensor, shape (..., n, embed_dim)
        weights : Tensor, shape (..., heads, n, m), or None
            As in `afa_core.layer.Attended`; after dropout in training.

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
        output, _, weights = attend(
            self,
            query,
            key,
            value,
            query_times=query_times,
            key_times=key_times,
            causal=causal,
            mask=mask,
            key_mask=key_mask,
            logit_bias=logit_bias,
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
        """Filter tokens and return the precision of the estimates too.

        Takes the arguments of `forward`, and raises its errors.

        Returns
        -------
        Attended
        """
        return attend(self, query, key, value, need_precision=True, **options)

    def empty_cache(
        self, tokens: Tensor, *, capacity: int | None = None, **examples: Tensor
    ) -> DecodeCache:
        """Return an empty cache for tokens like those given, (..., any number, embed_dim).

        Takes the arguments of `afa_core.layer.empty_cache` that follow `settings`.
        """
        options: Any = {"capacity": capacity, **examples}
        return call(Layer.empty_cache, self, {"tokens": tokens}, **options)

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

        Takes the arguments of `afa_core.layer.step` that follow `settings`, has its results and
        raises its errors.
        """
        options: Any = {"time": time, "mask": mask, "need_precision": need_precision}
        return call(Layer.step, self, {"tokens": tokens}, cache=cache, **options)

    def parameter_groups(self, lr: float, **options: float) -> list[dict[str, Any]]:
        """Return groups of parameters for an optimiser, see `afa_torch.nn.parameter_groups`."""
        return parameter_groups(self, lr, **options)

    def extra_repr(self) -> str:
        """Return the sizes, and the settings that differ from the defaults."""
        shown = described(self.settings) | ({"dropout": self.dropout} if self.dropout else {})
        return ", ".join(f"{name}={x!r}" for name, x in shown.items())
