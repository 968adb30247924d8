"""From the operands of tiles to what kernels take."""

from __future__ import annotations

from math import log, prod
from typing import Any, NamedTuple

import torch
import triton
from array_api_compat import torch as namespace

from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform
from afa_core.streaming.early_exit import all_tokens_finite
from afa_core.streaming.operands import (
    Norms,
    Operands,
    StaticProblem,
    bounded_tokens,
    residual_scale,
)
from afa_core.streaming.ranges import extremes
from afa_core.streaming.visible import flatten_mask
from afa_torch.triton.arguments import Flags, KeyArrays, Numbers, QueryArrays
from afa_torch.triton.weights import GAUSSIAN, RATIONAL, STUDENT, UNIFORM

XP: Any = namespace
WEIGHTINGS = {Gaussian: GAUSSIAN, Rational: RATIONAL, StudentT: STUDENT, Uniform: UNIFORM}
LOG_RANGE_SHARE = 0.85
"""Share of the logarithm of the largest number that the range of a power may span."""
LARGEST = torch.finfo(torch.float32).max


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
    scale: Any = torch.zeros_like(own.dof)
    if static.weighting is not Uniform:
        scale = residual_scale(static, operands, xp=XP)
    power = power_of(static, own.query.dtype)
    units = _units(operands, norms, scale, power)
    tolerance = 0.0 if static.has_temperature else static.tolerance
    exits = static.directions > 0 and tolerance > 0.0 and static.visibility.keys > 0
    noise = own.query_noise.to(f32)
    if own.query_variance.shape[-1]:
        noise = noise + own.query_variance
    noise = flat(noise)  # (g, n), or (g, 1)
    mask = _mask_of(static)
    both = own.query_level, own.key_level
    levels = [whole(x[..., 0]) if static.directions else none for x in both]
    missing = flat(own.missing) if own.missing.shape[-1] else none
    far = _far_weights(operands, static) if exits else none
    parameters = [*own[5:8], scale, own.dof, own.inverse_temperature, *units]
    query2, key2 = (flat(scale.to(f32) * x) for x in norms)
    strides = 0 if noise.shape[1] == 1 else 1, *_steps(mask)
    share = log(tolerance / static.directions) if exits else 0.0
    return Prepared(
        QueryArrays(whole(own.query), query2, flat(own.query_times), noise, levels[0], missing),
        KeyArrays(whole(own.key), whole(own.value), key2, flat(own.key_times), levels[1], far),
        none.to(torch.uint8) if mask is None else mask,
        torch.cat([x.reshape(-1, 1).to(f32) for x in parameters], 1),
        Numbers(*static.visibility[:2], noise.shape[1], *strides, share),
        _flags(operands, static, power, exits=exits),
        (power,) if power < 2 else (power, -1),
    )


def power_of(static: StaticProblem, dtype: Any) -> int:
    """Return p of weights that are integer powers, −1 of others.

    Half precision has not their range: there weights are relative to the greatest of a query.
    """
    if static.weighting is Uniform and not static.has_temperature:
        return 0 if static.directions else 1
    return static.power if static.power and dtype != torch.float16 else -1


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


def _units(operands: Operands, norms: Norms, scale: Any, power: int) -> tuple[Any, Any]:
    """Return units of weights, and 1 where they are powers within range, 0 elsewhere, (g,)."""
    found: Any = extremes(operands, norms, scale, xp=XP)
    if not norms.query.shape[1]:
        one = torch.ones_like(scale)
        return one, one * float(power >= 0)
    low, top = found.low.amin(1), torch.where(found.top.isfinite(), found.top, 0.0).amax(1)
    unit = torch.where(low > 0.0, low.sqrt() * top.sqrt(), top)
    if power < 2:
        return unit, torch.full_like(unit, float(power >= 0))
    below = power * torch.log(top / low) < LOG_RANGE_SHARE * log(LARGEST)
    return unit, ((low > 0.0) & below).to(unit.dtype)


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
    """Return the mask in as few rows as it has."""
    mask: Any = static.visibility.mask
    if mask is None:
        return None
    rows = mask.shape[-2] if mask.shape[-2] == static.visibility.queries else 1
    mask = mask.expand(*mask.shape[:-2], rows, static.visibility.keys)
    found: Any = flatten_mask(mask, static, xp=XP)
    return found.contiguous().to(torch.uint8)


def _steps(mask: Any) -> tuple[int, int]:
    """Return the steps between heads and rows of a mask."""
    if mask is None:
        return 0, 0
    head, row = (mask.stride(axis) if mask.shape[axis] > 1 else 0 for axis in (0, 1))
    return head, row
