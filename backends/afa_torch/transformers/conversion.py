"""Conversion of rotary models to Adaptive Filter Attention of the same output (spec §7.1)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from afa_torch.transformers.dynamics import MIN_RADIUS, Dynamics, Start, rotary_limit
from afa_torch.transformers.families import Site, bounds, sites
from afa_torch.transformers.interface import NAME, ensure_registered
from afa_torch.transformers.sampling import sampled

FIXED = ("inverse_temperature", "radius")
"""Parameters that are not trained by default."""

MARGIN = 1.5
"""Ratio of the radius to the longest key of a sample."""

MAX_ROUNDING = 1e-3
"""Of logits, above which a conversion warns."""

AnyModel = TypeVar("AnyModel", bound=nn.Module)


def convert(
    model: AnyModel,
    *,
    sample: Tensor | Mapping[str, Tensor] | None = None,
    radius: float | None = None,
    fixed: Iterable[str] = FIXED,
) -> AnyModel:
    """Give a rotary model the parameters of Adaptive Filter Attention, and the same output.

    softmax(s q·k) v is Gaussian attention without decay and process noise at d(η² + γ²)/2β = 1/s,
    if keys have one length R. Shorter keys are extended to it by a mode that is zero in queries.
    Tokens are still rotated by the rotary embedding of the model.

    Parameters
    ----------
    model : PreTrainedModel
        Of the type llama, mistral, qwen2 or gpt_neox, with its weights. It is changed in place.
    sample : integer Tensor, shape (batch, tokens), mapping of str to Tensor, or None
        Token ids, or arguments of the model, of text like that which the model is for. R is 1.5
        times the length of the longest key of each head.
    radius : float or None
        R of all heads, instead of that of a sample. If both are None, R is a bound from the
        weights: no key exceeds it, but it may be much longer than keys.
    fixed : iterable of str
        Which of ``"decay"``, ``"process"``, ``"measurement"``, ``"query_noise"``,
        ``"inverse_temperature"`` and ``"radius"`` are not trained.

    Returns
    -------
    PreTrainedModel
        `model`, each of whose attention modules has a submodule ``afa``, a `Dynamics`.

    Warns
    -----
    UserWarning
        If R is so large that rounding changes logits by more than 10⁻³.

    Raises
    ------
    TypeError
        If the model is not of a known type, or has been converted.
    ValueError
        If `radius` and `sample` are both given, or `radius` is not positive.

    Notes
    -----
    Output changes by rounding alone, which grows as R². The weight of a key longer than R, which
    can occur with `sample` or `radius`, and when training has made keys longer, is multiplied by
    e^{−s(‖k‖² − R²)/2}. Decays and process noise start at 10⁻¹², so that training can move them.

    References
    ----------
    Spec §7.1.
    """
    found = sites(model)
    if any(hasattr(site.attention, NAME) for site in found):
        msg = f"`model` must not have been converted, got {type(model).__name__} that has been."
        raise TypeError(msg)
    chosen = tuple(sorted(set(fixed)))
    modules = [_dynamics(site, chosen) for site in found]
    starts = _starts(model, found, sample, radius)
    ensure_registered()
    for site, dynamics, start in zip(found, modules, starts, strict=True):
        dynamics.start(rotary_limit(start, site.channels // 2))
        setattr(site.attention, NAME, dynamics)
    _warn_of_rounding(modules)
    config: Any = model.config
    config.afa = {"fixed": list(chosen)}
    set_implementation: Any = model.set_attn_implementation
    set_implementation(NAME)
    return model


def attach(model: nn.Module, fixed: Iterable[str]) -> None:
    """Give all attention modules of a model parameters, whose values are to be loaded."""
    for site in sites(model):
        setattr(site.attention, NAME, _dynamics(site, fixed))


def _dynamics(site: Site, fixed: Iterable[str]) -> Dynamics:
    """Return parameters on the device of an attention module, at least in single precision."""
    weight = next(site.attention.parameters())
    dtype = torch.promote_types(weight.dtype, torch.float32) if weight.is_floating_point() else None
    return Dynamics(
        site.heads,
        site.key_heads,
        fixed=fixed,
        device=weight.device,
        dtype=dtype or torch.float32,
    )


def _starts(
    model: nn.Module,
    found: list[Site],
    sample: Tensor | Mapping[str, Tensor] | None,
    radius: float | None,
) -> list[Start]:
    """Return what the rotary limit of each attention module depends on."""
    if sample is not None and radius is not None:
        msg = "`radius` must be None with a `sample`, which determines it. Pass one of both."
        raise ValueError(msg)
    if radius is not None and not MIN_RADIUS <= radius < float("inf"):
        msg = f"`radius` must be a finite number > 0, got {radius!r}. Pass a length of keys."
        raise ValueError(msg)
    if sample is not None:
        starts = sampled(model, found, sample)
        return [each._replace(radius=each.radius * MARGIN) for each in starts]
    if radius is not None:
        return [
            Start(
                torch.full((site.key_heads,), radius),
                torch.full((site.heads,), radius),
                site.attention.scaling,
            )
            for site in found
        ]
    rotary = [x for name, x in model.named_modules() if name.endswith("rotary_emb")]
    factor = max((abs(getattr(x, "attention_scaling", 1.0)) for x in rotary), default=1.0)
    starts = [bounds(site, factor) for site in found]
    return [each._replace(radius=each.radius.clamp_min(MIN_RADIUS)) for each in starts]


def _warn_of_rounding(modules: list[Dynamics]) -> None:
    """Warn if logits, which are about β, are so large that their rounding shows."""
    largest = max(float(each.values()["inverse_temperature"].detach().max()) for each in modules)
    rounding = largest * torch.finfo(torch.float32).eps
    if rounding > MAX_ROUNDING:
        msg = (
            "`radius` must be small enough for single precision, got keys extended to a length at "
            f"which rounding changes logits by {rounding:.1g}. Pass a `sample` or a smaller radius."
        )
        warnings.warn(msg, stacklevel=3)
