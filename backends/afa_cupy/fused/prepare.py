"""From the operands of tiles to the arguments and the options of the kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.log_sum_exp import finite_peak
from afa_core._array.scan import Elements, prefixes, suffixes
from afa_core.model.influence import log_or_lowest
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
from afa_cupy.fused.blocks import Blocks, Tokens

WEIGHTINGS = {Gaussian: "GAUSSIAN", Rational: "RATIONAL", StudentT: "STUDENT", Uniform: "UNIFORM"}


class Prepared(NamedTuple):
    """A problem as the kernel takes it."""

    arguments: tuple[Any, ...]  # of `forward` in ``forward.cu``, up to the results
    macros: dict[str, Any]  # with which it is compiled, but for `POWER`
    powers: tuple[int, ...]  # with which it is launched: −1 for heads whose weights take L


class Numbers(NamedTuple):
    """Numbers of channels and tokens, steps between heads and rows, what may be left out."""

    width: int
    value_width: int
    queries: int
    keys: int
    noise_head: int
    noise_row: int
    mask_head: int
    mask_row: int
    share: float  # of the weight of a row, its logarithm


def prepare(operands: Operands, static: StaticProblem, blocks: Blocks, *, xp: Any) -> Prepared:
    """Return the arguments of the kernel, and what it is compiled for."""
    own: Any = bounded_tokens(operands, xp=xp)
    tokens = tokens_of(own, static)
    norms = Norms(*(xp.sum(x * x, axis=-1, keepdims=True) for x in (own.query, own.key)))
    scale = scale_of(own, static, xp=xp)
    powers, share = powers_of(static, own.query.dtype, xp=xp), log_share(static)
    levels = _tiles(own.key_level[..., 0], blocks, xp.inf, xp=xp)
    far = levels if share is None else _far_weights(own, levels, static.directions, xp=xp)
    noise, mask = query_noise_of(own)[..., 0], _mask_of(static, xp=xp)
    strides = 0 if noise.shape[1] == 1 else 1, *_steps(mask)
    numbers = Numbers(*tokens[:2], *static.visibility[:2], noise.shape[1], *strides, share or 0.0)
    parameters = [*own[5:8], scale, own.dof, own.inverse_temperature]
    parameters += units_of_heads(own, norms, scale, powers[0], own.query.dtype, xp=xp)
    query_square, key_square = (scale * x for x in norms)
    arrays = (
        own.query,
        query_square,
        own.query_times,
        noise,
        own.query_level,
        xp.astype(own.missing, xp.float64),
        own.key,
        own.value,
        key_square,
        own.key_times,
        own.key_level,
        _bounds(own, levels, blocks, xp=xp),
        far,
        mask,
        xp.concat([xp.reshape(x, (-1, 1)) for x in parameters], axis=1),
    )
    macros = _macros(own, static, tokens, blocks, exits=share is not None)
    return Prepared((*(xp.ascontiguousarray(x) for x in arrays), *numbers), macros, powers)


def tokens_of(operands: Any, static: StaticProblem) -> Tokens:
    """Return what the memory of a block depends on."""
    query, value = operands.query, operands.value
    return Tokens(query.shape[-1], value.shape[-1], query.dtype.itemsize, static.directions)


def _macros(
    operands: Any, static: StaticProblem, tokens: Tokens, blocks: Blocks, *, exits: bool
) -> dict[str, Any]:
    """Return what the kernel is compiled for, but for the power."""
    return {
        "REAL": {4: "float", 8: "double"}[tokens.itemsize],
        "PADDED": tokens.padded,
        "VALUE_PADDED": tokens.value_padded,
        "ROWS": blocks.rows,
        "COLUMNS": blocks.columns,
        "CAUSAL": int(static.visibility.causal),
        "MASKED": int(static.visibility.mask is not None),
        "WEIGHTING": WEIGHTINGS[static.weighting],
        "DIRECTIONS": static.directions,
        "TEMPERATURE": int(static.has_temperature),
        "TWO_SIDED": int(operands.missing.shape[-1] > 0),
        "EXITS": int(exits),
    }


def _tiles(x: Any, blocks: Blocks, rest: float, *, xp: Any) -> Any:
    """Return numbers of keys (g, m, t) by tiles, (g, tiles, keys, t), with a rest at the end."""
    heads, keys, terms = x.shape
    tiles, size = -(-keys // blocks.keys), blocks.keys
    missing = xp.full((heads, tiles * size - keys, terms), rest, dtype=x.dtype, device=x.device)
    return xp.reshape(xp.concat([x, missing], axis=1), (heads, tiles, size, terms))


def _bounds(operands: Any, levels: Any, blocks: Blocks, *, xp: Any) -> Any:
    """Return the first and the last time of each key block, and its least levels.

    (g, tiles, 2 + directions), or 3 numbers where keys have no influence. NaN is ignored.
    """
    times = _tiles(operands.key_times, blocks, xp.nan, xp=xp)
    known = xp.logical_not(xp.isnan(times))
    first = xp.min(xp.where(known, times, xp.inf), axis=2)
    last = xp.max(xp.where(known, times, -xp.inf), axis=2)
    least = xp.min(levels, axis=2) if levels.shape[-1] else first
    return xp.concat([first, last, least], axis=-1)


def _far_weights(operands: Any, levels: Any, directions: int, *, xp: Any) -> Any:
    """Return log Σ_j a_ij of each key block and all beyond it, but for the query's level.

    (g, tiles, directions); infinite where a token is not finite, since every row visits it.
    """
    peak = xp.max(-levels, axis=2)
    shift = finite_peak(peak, xp=xp)
    totals = xp.sum(xp.exp(-levels - shift[:, :, None, :]), axis=2)
    weights = shift + log_or_lowest(totals, xp=xp)

    def merge(one: Elements, two: Elements) -> Elements:
        return (xp.logaddexp(one[0], two[0]),)

    (earlier,) = prefixes(merge, (weights[..., 0],), axis=-1, xp=xp)
    (later,) = suffixes(merge, (weights[..., -1],), axis=-1, xp=xp)
    far = xp.stack([earlier, later][:directions], axis=-1)
    return xp.where(all_tokens_finite(operands, xp=xp), far, xp.inf)


def _mask_of(static: StaticProblem, *, xp: Any) -> Any:
    """Return the mask as bytes; one number if there is none."""
    mask: Any = static.visibility.mask
    if mask is None:
        return xp.zeros((1, 1, 1), dtype=xp.uint8)
    return xp.astype(compact_mask(mask, static, xp=xp), xp.uint8)


def _steps(mask: Any) -> tuple[int, int]:
    """Return the steps between heads and rows of a mask."""
    heads, rows, keys = mask.shape
    return (rows * keys if heads > 1 else 0), (keys if rows > 1 else 0)
