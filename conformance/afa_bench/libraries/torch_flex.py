"""FlexAttention as a baseline: the isotropic form by two calls, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from afa_bench.baselines import rotary
from afa_bench.candidates import Baseline, Call, Task, usual_keys
from afa_bench.libraries.torch_rotary import rotate
from afa_bench.setting import Setting
from afa_core.model.weighting import Rational, StudentT, Weighting

NARROW = 16
"""Channels of the values of the call of which only the normaliser is used."""

Score = Callable[[Any, Any, Any, Any, Any], Any]


def flex(
    query: Any,
    key: Any,
    value: Any,
    rotation: Any,
    sde: Any,
    weighting: Weighting,
    *,
    flex_attention: Any,
    block_mask: Any,
) -> Any:
    """Return the isotropic form, spec §4, (..., n, 2d).

    With the logits L and the decay E of values it is ``Σ_j e^L E v / Σ_j e^L``. A call with the
    score L + log E returns ``Σ_j e^L E v / Σ_j e^L E``; the logarithms of the two normalisers,
    of which a call with the score L returns the other, make up the difference.

    Parameters
    ----------
    query, key, value : array, shape (batch, heads, n, 2d)
    rotation : array, shape (n, d)
        e^{iωt}.
    sde : IsotropicSDE
        With arrays (heads) and (d).
    weighting : Weighting
    flex_attention : callable
        ``flex_attention(query, key, value, score, block_mask=…)``: the mean, (..., n, c), and the
        logarithm of the normaliser, (..., n).
    block_mask : BlockMask
        Causal.
    """
    q, k, v = (rotate(x, rotation.conj()) for x in (query, key, value))
    score = _logit(q, k, sde, weighting)

    def decayed(product: Any, batch: Any, head: Any, i: Any, j: Any) -> Any:
        return score(product, batch, head, i, j) - sde.decay[head] * torch.abs(i - j)

    narrow = v[..., :NARROW].contiguous()
    _, normaliser = flex_attention(q, k, narrow, score, block_mask=block_mask)
    mean, of_decayed = flex_attention(q, k, v, decayed, block_mask=block_mask)
    scaled = mean * torch.exp(of_decayed - normaliser)[..., None]
    return rotate(scaled, rotation).to(value.dtype)


def _logit(q: Any, k: Any, sde: Any, weighting: Weighting) -> Score:
    """Return the logarithm of the weight of a pair as a score, given rotated tokens."""
    modes = q.shape[-1] // 2
    # Lengths in single precision, of the rounded tokens.
    wide = torch.promote_types(q.dtype, torch.float32)
    q2, k2 = (x.to(wide).square().sum(-1) for x in (q, k))
    decay, (process, measurement, anchor) = sde.decay, sde.noise
    exponent, dof = _exponent(weighting)

    def score(product: Any, batch: Any, head: Any, i: Any, j: Any) -> Any:
        decayed = torch.exp(-decay[head] * torch.abs(i - j))
        propagated = process[head] * (1.0 - decayed * decayed) / (2.0 * decay[head])
        covariance = propagated + measurement[head] * decayed * decayed + anchor[head]
        squares = q2[batch, head, i] + decayed * decayed * k2[batch, head, j]
        distance = (squares - 2.0 * decayed * product) / covariance
        if dof is None:
            return -torch.log(covariance) - distance / modes
        return -torch.log(covariance) - exponent * torch.log1p(distance / (dof * modes))

    return score


def _exponent(weighting: Weighting) -> tuple[float, float | None]:
    """Return κ and ν_s of log w = −κ log1p(m/(ν_s d)), ν_s None for the Gaussian."""
    if isinstance(weighting, StudentT):
        return float(weighting.dof) + 1.0, float(weighting.dof)  # type: ignore[arg-type]
    if isinstance(weighting, Rational):
        return 1.0, float(weighting.dof)  # type: ignore[arg-type]
    return 1.0, None


def with_normaliser(flex_attention: Any) -> Callable[..., tuple[Any, Any]]:
    """Return FlexAttention of unscaled products, with the logarithm of its normaliser."""
    from torch.nn.attention.flex_attention import AuxRequest

    def run(query: Any, key: Any, value: Any, score: Score, *, block_mask: Any) -> tuple[Any, Any]:
        mean, others = flex_attention(
            query,
            key,
            value,
            score_mod=score,
            block_mask=block_mask,
            scale=1.0,
            return_aux=AuxRequest(lse=True),
        )
        return mean, others.lse

    return run


def causal_mask(tokens: int, device: str) -> Any:
    """Return the causal mask of so many tokens as FlexAttention takes it."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(_causal, None, None, tokens, tokens, device)


def _causal(batch: Any, head: Any, i: Any, j: Any) -> Any:
    return i >= j


def _unsupported(setting: Setting) -> str:
    if setting.case != "attention" or setting.form != "isotropic":
        return "expresses the isotropic form over a sequence only"
    if reason := usual_keys(setting):
        return reason
    if setting.weighting == "uniform":
        return "written for robust weights only"
    if setting.backward and not torch.cuda.is_available():
        return "has no backward on a CPU"
    return ""


def _prepare(task: Task) -> Call:
    from torch.nn.attention.flex_attention import flex_attention

    inputs = task.inputs
    rotation = torch.complex(*rotary.tables(task))
    torch.compiler.reset()  # so that settings before this one do not count against its limit
    run = partial(
        flex,
        sde=inputs.sde,
        weighting=inputs.weighting,
        flex_attention=with_normaliser(torch.compile(flex_attention, dynamic=False)),
        block_mask=causal_mask(task.setting.tokens, rotation.device.type),
    )
    return task.call(run, tuple(inputs[:3]), (rotation,))


FLEX = Baseline(
    "flex",
    "FlexAttention, the isotropic form by two calls",
    _unsupported,
    _prepare,
    default=False,
)
