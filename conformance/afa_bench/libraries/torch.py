"""PyTorch: eager; its baselines are fused dot-product attention and FlexAttention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from afa_bench.baselines import products, published, rotary
from afa_bench.candidates import Baseline, Call, Profiling, Task, usual_keys
from afa_bench.libraries.torch_layers import MULTIHEAD
from afa_bench.setting import Setting
from afa_core.model.weighting import Rational, StudentT, Weighting


def _synchronize(_: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _vjp(function: Callable[..., Any], cotangent: Any, *arrays: Any) -> Any:
    leaves = [x.detach().requires_grad_() for x in arrays]
    output = function(*leaves)
    return output, torch.autograd.grad(output, leaves, cotangent, materialize_grads=True)


def _device_memory(call: Call, device: str) -> int | None:
    if not torch.cuda.is_available() or device == "cpu":
        return None
    call()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return int(torch.cuda.max_memory_allocated()) - int(before)


def _gpu() -> str:
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""


def rotate(x: Any, rotation: Any) -> Any:
    """Multiply interleaved pairs by complex numbers (tokens, d), in one pass over `x`."""
    wide = x if x.dtype == torch.float64 else x.float()
    modes = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    return torch.view_as_real(modes * rotation).flatten(-2).to(x.dtype)


def sdpa(query: Any, key: Any, value: Any, rotation: Any) -> Any:
    """Return causal dot-product attention with rotary encodings; queries are the last tokens."""
    queries = query.shape[-2]
    return scaled_dot_product_attention(
        rotate(query, rotation[-queries:]), rotate(key, rotation), value, is_causal=queries > 1
    )


def _prepare_sdpa(task: Task) -> Call:
    inputs = task.inputs
    rotation = torch.complex(*rotary.tables(task))
    if task.setting.case == "decode":
        # The cache holds rotated keys.
        key = rotate(inputs.key, rotation)

        def step(query: Any, key: Any, value: Any, rotation: Any) -> Any:
            return scaled_dot_product_attention(rotate(query, rotation), key, value)

        return task.call(step, (inputs.query, key, inputs.value), (rotation[-1:],))
    return task.call(sdpa, tuple(inputs[:3]), (rotation,))


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
    """Return FlexAttention with the logit of spec §4 as its score; values do not decay.

    The decay E, which multiplies the normalised weights, cannot be expressed by a score. It is
    omitted, so this is less work than the isotropic form.
    """
    modes = query.shape[-1] // 2
    q, k, v = (rotate(x, rotation.conj()) for x in (query, key, value))
    q2, k2 = q.square().sum(-1), k.square().sum(-1)
    decay, (process, measurement, anchor) = sde.decay, sde.noise
    exponent, dof = _exponent(weighting)

    def score(product: Any, batch: Any, head: Any, i: Any, j: Any) -> Any:
        decayed = torch.exp(-decay[head] * (i - j))
        propagated = process[head] * (1.0 - decayed * decayed) / (2.0 * decay[head])
        covariance = propagated + measurement[head] * decayed * decayed + anchor[head]
        squares = q2[batch, head, i] + decayed * decayed * k2[batch, head, j]
        distance = (squares - 2.0 * decayed * product) / covariance
        if dof is None:
            return -torch.log(covariance) - distance / modes
        return -torch.log(covariance) - exponent * torch.log1p(distance / (dof * modes))

    mean = flex_attention(q, k, v, score_mod=score, block_mask=block_mask, scale=1.0)
    return rotate(mean, rotation)


def _exponent(weighting: Weighting) -> tuple[float, float | None]:
    """Return κ and ν_s of log w = −κ log1p(m/(ν_s d)), ν_s None for the Gaussian."""
    if isinstance(weighting, StudentT):
        return float(weighting.dof) + 1.0, float(weighting.dof)  # type: ignore[arg-type]
    if isinstance(weighting, Rational):
        return 1.0, float(weighting.dof)  # type: ignore[arg-type]
    return 1.0, None


def _flex_unsupported(setting: Setting) -> str:
    if setting.case != "attention" or setting.form != "isotropic":
        return "expresses the isotropic form over a sequence only"
    if reason := usual_keys(setting):
        return reason
    if setting.weighting == "uniform":
        return "written for robust weights only"
    if setting.backward and not torch.cuda.is_available():
        return "has no backward on a CPU"
    return ""


def _prepare_flex(task: Task) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    inputs, tokens = task.inputs, task.setting.tokens
    rotation = torch.complex(*rotary.tables(task))
    run = partial(
        flex,
        sde=inputs.sde,
        weighting=inputs.weighting,
        flex_attention=torch.compile(flex_attention),
        block_mask=create_block_mask(_causal, None, None, tokens, tokens, rotation.device.type),
    )
    return task.call(run, tuple(inputs[:3]), (rotation,))


def _causal(batch: Any, head: Any, i: Any, j: Any) -> Any:
    return i >= j


SDPA = Baseline(
    "sdpa",
    f"scaled_dot_product_attention: {rotary.TITLE}",
    rotary.unsupported,
    _prepare_sdpa,
)
FLEX = Baseline(
    "flex",
    "FlexAttention with the logit of spec §4",
    _flex_unsupported,
    _prepare_flex,
    default=False,
)
PROFILING = Profiling(
    synchronize=_synchronize,
    compile=lambda function, arrays: function,
    vjp=_vjp,
    device_memory=_device_memory,
    gpu=_gpu,
)
BASELINES = (
    SDPA,
    FLEX,
    MULTIHEAD,
    products.baseline(),
    *published.baselines(partial(torch.softmax, dim=-1)),
)
