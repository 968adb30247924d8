"""The dynamics and the noise of the heads of an attention module, and attention by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from afa_core import Gaussian, IsotropicSDE, Noise, attention
from afa_core.layer.rotary import NEAR_ZERO
from afa_torch.parameters import SinglePrecision

NAMES = ("decay", "process", "measurement", "query_noise", "inverse_temperature", "radius")
"""Parameters of heads; each is stored as ``raw_…``, whose absolute value it is."""

SPLIT = 1.0 - 2.0**-8
"""Share of the added mode in its first channel, so that the second one is never zero."""

MIN_RADIUS = 1e-6
"""The least length that keys are extended to, so that no variance is zero."""


class Visible(NamedTuple):
    """Which keys a query attends to, and when tokens were measured.

    Parameters
    ----------
    causal : bool
    mask : boolean Tensor, broadcastable to (batch, key heads, group, n, m), or None
    query_times, key_times : Tensor or None
        Broadcastable to (batch, key heads, group, n) and (batch, key heads, group, m). None stands
        for the places of the tokens in the sequence.
    """

    causal: bool
    mask: Tensor | None = None
    query_times: Tensor | None = None
    key_times: Tensor | None = None


class Model(NamedTuple):
    """The model of all heads, each a number or a Tensor that broadcasts to (key heads, group)."""

    decay: Tensor | float
    process: Tensor | float
    measurement: Tensor | float
    query_noise: Tensor | float
    inverse_temperature: Tensor | float
    radius: Tensor


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    model: Model,
    visible: Visible,
    implementation: str = "auto",
) -> Tensor:
    """Return attention (4.1) of tokens that are rotated to time zero, keys extended to a radius.

    Parameters
    ----------
    query : Tensor, shape (batch, heads, n, channels)
    key, value : Tensor, shape (batch, key heads, m, channels)
        Consecutive query heads share a key head.
    model : Model
    visible : Visible
    implementation : str
        As in `afa_core.attention`.

    Returns
    -------
    Tensor, shape (batch, heads, n, channels of a value)

    Raises
    ------
    ValueError
        If a head has an odd number of channels.
    """
    if query.shape[-1] % 2 or value.shape[-1] % 2:
        msg = (
            "`query`, `key` and `value` must have an even number of channels per head, two a mode, "
            f"got {query.shape[-1]} and {value.shape[-1]}. Choose another size of the heads."
        )
        raise ValueError(msg)
    zeros = query.new_zeros((*query.shape[:-1], 2))
    batch, key_heads = query.shape[0], key.shape[1]
    queries = torch.cat([query, zeros], dim=-1)
    queries = queries.reshape(batch, key_heads, -1, *queries.shape[2:])
    keys = extended(key.unsqueeze(2), model.radius)
    noise = Noise(model.process, model.measurement, model.query_noise)
    frequency = query.new_zeros(queries.shape[-1] // 2, dtype=torch.float32)
    mean: Any = attention(
        queries,
        keys,
        value.unsqueeze(2),
        IsotropicSDE(model.decay, frequency, noise, 0.0),
        weighting=Gaussian(),
        inverse_temperature=model.inverse_temperature,
        implementation=implementation,
        **visible._asdict(),
    )
    joined: Tensor = mean.flatten(1, 2)
    return joined


def extended(key: Tensor, radius: Tensor) -> Tensor:
    """Append √(R² − ‖k‖²) to keys, as two channels, which halves the digits lost in bfloat16.

    Keys longer than R stay as they are.
    """
    wide = torch.promote_types(key.dtype, torch.float32)
    rest = radius[..., None, None].to(wide) ** 2 - key.to(wide).square().sum(-1, keepdim=True)
    inside = rest > 0.0
    # the derivative of the root is infinite at zero
    rest = torch.where(inside, rest, 1.0)
    first = (rest.detach().sqrt() * SPLIT).to(key.dtype)
    second = (rest - first.to(wide).square()).sqrt().to(key.dtype)
    added = torch.cat([first, second], dim=-1)
    return torch.cat([key, torch.where(inside, added, 0.0).to(key.dtype)], dim=-1)


def shared_model(
    key: Tensor,
    scaling: float,
    decay: float = 0.0,
    process: float = 0.0,
    radius: float | None = None,
) -> Model:
    """Return the rotary limit with a decay and process noise, the same for all heads.

    By default R is the length of the longest key.
    """
    wide = torch.promote_types(key.dtype, torch.float32)
    if radius is not None:
        length = key.new_tensor(radius, dtype=wide)
    elif key.shape[-2]:
        length = torch.linalg.vector_norm(key.detach().to(wide), dim=-1).amax()
    else:
        length = key.new_ones((), dtype=wide)
    length = length.clamp_min(MIN_RADIUS)
    noise = length**2 / (key.shape[-1] // 2 + 1)
    return Model(decay, process, noise, noise, scaling * length**2, length)


class Start(NamedTuple):
    """What the rotary limit of an attention module depends on.

    Parameters
    ----------
    radius : Tensor, shape (key heads,)
        The length that keys are extended to.
    query : Tensor, shape (heads,)
        The root of the mean ‖q‖².
    scaling : float
        The factor of the products of queries and keys.
    """

    radius: Tensor
    query: Tensor
    scaling: float


def rotary_limit(start: Start, modes: int) -> dict[str, Tensor]:
    """Return the parameters that make attention that of dot products (spec §7.1), by name.

    η² = R²/d and γ² = ‖q‖²/d are the variances of tokens, so that Σ is about the variance of the
    residual of unrelated tokens, whose weight small process noise does not change; it takes weight
    from keys that agree with the query. The temperature is d(η² + γ²)/2β = 1/scaling.
    """
    heads, key_heads = start.query.shape[0], start.radius.shape[0]
    radius2 = start.radius.repeat_interleave(heads // key_heads) ** 2
    query2, count = start.query**2, modes + 1  # with the mode that extends keys
    return {
        "decay": torch.full_like(query2, NEAR_ZERO),
        "process": torch.full_like(query2, NEAR_ZERO),
        "measurement": radius2 / count,
        "query_noise": query2 / count,
        "inverse_temperature": start.scaling * (radius2 + query2) / 2.0,
        "radius": start.radius,
    }


class Dynamics(SinglePrecision):
    """The parameters of Adaptive Filter Attention of one attention module, its submodule ``afa``.

    Parameters
    ----------
    heads, key_heads : int
        Numbers of heads of queries, and of keys and values.
    fixed : iterable of str
        Names, without ``raw_``, of those that are buffers.
    device : device or None
    dtype : dtype
        At least single precision.

    Attributes
    ----------
    raw_decay, raw_process, raw_measurement, raw_query_noise, raw_inverse_temperature : Tensor
        Shape (heads,): μ, σ², η², γ² and β are their absolute values.
    raw_radius : Tensor, shape (key_heads,)
        R, the length that keys are extended to.

    Raises
    ------
    ValueError
        If `fixed` has an unknown name.
    """

    has_dynamics: ClassVar[bool] = True  # as parameters of its own, see `parameter_groups`

    def __init__(
        self,
        heads: int,
        key_heads: int,
        *,
        fixed: Iterable[str] = (),
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        constant = frozenset(fixed)
        if unknown := sorted(constant - set(NAMES)):
            msg = f"`fixed` must name parameters among {NAMES}, got {unknown}. Correct the names."
            raise ValueError(msg)
        self.heads, self.key_heads = heads, key_heads
        for name in NAMES:
            shape = key_heads if name == "radius" else heads
            x = torch.ones(shape, device=device, dtype=dtype)
            if name in constant:
                self.register_buffer(f"raw_{name}", x)
            else:
                self.register_parameter(f"raw_{name}", nn.Parameter(x))

    def values(self) -> dict[str, Tensor]:
        """Return the positive parameters by their names without ``raw_``, (heads,) or (key_heads,).

        They are at least in single precision.
        """
        raw: dict[str, Tensor] = {name: getattr(self, f"raw_{name}") for name in NAMES}
        wide = {name: torch.promote_types(x.dtype, torch.float32) for name, x in raw.items()}
        return {name: x.to(wide[name]).abs() for name, x in raw.items()}

    @torch.no_grad()
    def start(self, values: dict[str, Tensor]) -> None:
        """Set parameters to positive values, by their names without ``raw_``."""
        for name, x in values.items():
            getattr(self, f"raw_{name}").copy_(x)

    @property
    def sde(self) -> IsotropicSDE:
        """The current dynamics and noise, with leading axis (heads,).

        Frequencies are relative to the rotary embedding, which rotates tokens: they are zero.
        """
        decay, *noise = list(self.values().values())[:4]
        return IsotropicSDE(decay, torch.zeros_like(decay[:1]), Noise(*noise), 0.0)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        visible: Visible,
        implementation: str = "auto",
    ) -> Tensor:
        """Return attention of rotated tokens; arguments are those of `attend`."""
        model = Model(*(x.reshape(self.key_heads, -1) for x in self.values().values()))
        return attend(query, key, value, model, visible, implementation)

    def extra_repr(self) -> str:
        """Return the numbers of heads."""
        return f"heads={self.heads}, key_heads={self.key_heads}"
