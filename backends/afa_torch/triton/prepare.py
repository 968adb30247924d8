"""From the operands of tiles to what kernels take."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch
import triton
from array_api_compat import torch as namespace

from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform
from afa_core.streaming.early_exit import all_tokens_finite
from afa_core.streaming.kernels import (
    compact_mask,
    log_share,
    powers_of,
    scale_of,
    units_of_heads,
)
from afa_core.streaming.operands import (
    Norms,
    Operands,
    StaticProblem,
    bounded_tokens,
    query_noise_of,
)
from afa_torch.triton.arguments import Flags, KeyArrays, Numbers, QueryArrays
from afa_torch.triton.weights import GAUSSIAN, RATIONAL, STUDENT, UNIFORM

XP: Any = namespace
WEIGHTINGS = {Gaussian: GAUSSIAN, Rational: RATIONAL, StudentT: STUDENT, Uniform: UNIFORM}


class Prepared(NamedTuple):
    """A problem as kernels take it; of two components each has arrays and parameters."""

    queries: Any  # `QueryArrays`
    keys: Any  # `KeyArrays`
    mask: Any
    model: Any  # (g, 8), see `Model`
    numbers: Numbers
    flags: Flags  # but for blocks
    powers: tuple[int, ...]  # with which kernels are launched: −1 for heads whose weights take L

    @property
    def tokens(self) -> Any:
        """Tokens of queries, (g, n, 2d)."""
        return self.queries.tokens

    @property
    def by_powers(self) -> Prepared:
        """The problem of the heads whose weights are powers, if any are."""
        return self._replace(powers=self.powers[:1])


def prepare(operands: Operands, static: StaticProblem) -> Prepared:
    """Return the arguments that all kernels share."""
    own: Any = operands
    if own.query.dtype != torch.float16:  # whose squares are in range of single precision
        operands = own = bounded_tokens(operands, xp=XP)
    device, f32 = own.query.device, torch.float32
    none = torch.zeros(1, dtype=torch.float64, device=device)
    norms = Norms(*(_squared_norm(x) for x in (own.query, own.key)))
    scale: Any = scale_of(operands, static, xp=XP)
    powers = powers_of(static, own.query.dtype, xp=XP)
    units = units_of_heads(operands, norms, scale, powers[0], f32, xp=XP)
    share = log_share(static)
    noise: Any = query_noise_of(operands)
    noise = flat(noise.to(f32))  # (g, n), or (g, 1)
    mask = _mask_of(static)
    both = own.query_level, own.key_level
    levels = [whole(x[..., 0]) if static.directions else none for x in both]
    missing = flat(own.missing) if own.missing.shape[-1] else none
    far = none if share is None else _far_weights(operands, static)
    parameters = [*own[5:8], scale, own.dof, own.inverse_temperature, *units]
    query2, key2 = (flat(scale.to(f32) * x) for x in norms)
    strides = 0 if noise.shape[1] == 1 else 1, *_steps(mask)
    return Prepared(
        QueryArrays(whole(own.query), query2, flat(own.query_times), noise, levels[0], missing),
        KeyArrays(whole(own.key), whole(own.value), key2, flat(own.key_times), levels[1], far),
        none.to(torch.uint8) if mask is None else mask,
        torch.cat([x.reshape(-1, 1).to(f32) for x in parameters], 1),
        Numbers(*static.visibility[:2], noise.shape[1], *strides, share or 0.0),
        _flags(operands, static, powers[0], exits=share is not None),
        powers,
    )


def _flags(operands: Any, static: StaticProblem, power: int, *, exits: bool) -> Flags:
    """Return what kernels are compiled for, but for blocks."""
    width, value_width = operands.query.shape[-1], operands.value.shape[-1]
    return Flags(
        width,
        value_width,
        padded=max(16, triton.next_power_of_2(width)),
        value_padded=max(16, triton.next_power_of_2(value_width)),
        block_q=0,
        block_k=0,
        causal=static.visibility.causal,
        regular=static.regular,
        masked=static.visibility.mask is not None,
        weighting=WEIGHTINGS[static.weighting].value,
        power=power,
        directions=static.directions,
        has_temperature=static.has_temperature,
        two_sided=operands.missing.shape[-1] > 0,
        exits=exits,
        precision="ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32",
        interpreted=bool(triton.knobs.runtime.interpret),
        transposed=False,
    )


def whole(x: Any) -> Any:
    """Return an array whose elements follow each other."""
    return x.contiguous()


def flat(x: Any) -> Any:
    """Return the numbers of each head in one row."""
    return x.reshape(x.shape[0], prod(x.shape[1:])).contiguous()


def _squared_norm(x: Any) -> Any:
    """Return the squared lengths of tokens as they enter products, in single precision."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square()


def _far_weights(operands: Operands, static: StaticProblem) -> Any:
    """Return log Σ_j a_ij of each key and all beyond it, without the query's level, (g, m, t)."""
    given: Any = operands
    levels = -given.key_level[..., 0]
    past = torch.logcumsumexp(levels[..., 0], 1)
    later = torch.logcumsumexp(levels[..., -1].flip(1), 1).flip(1)
    far = torch.stack([past, later][: static.directions], -1)
    finite: Any = all_tokens_finite(operands, xp=XP)  # else every row visits them
    return torch.where(finite, far, torch.inf).contiguous()


def _mask_of(static: StaticProblem) -> Any:
    """Return the mask as bytes."""
    mask: Any = static.visibility.mask
    if mask is None:
        return None
    found: Any = compact_mask(mask, static, xp=XP)
    return found.contiguous().to(torch.uint8)


def _steps(mask: Any) -> tuple[int, int]:
    """Return the steps between heads and rows of a mask."""
    if mask is None:
        return 0, 0
    head, row = (mask.stride(axis) if mask.shape[axis] > 1 else 0 for axis in (0, 1))
    return head, row
