"""From the operands of tiles to what kernels take."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

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
)
from afa_jax.pallas.arguments import Blocks, Flags, Inputs, Side, Tokens
from afa_jax.pallas.factors import (
    F32,
    by_token,
    factors,
    in_directions,
    known,
    pad,
    pad_channels,
    references_of,
    terms_of,
    timing_of,
    two_terms,
)
from afa_jax.pallas.spans import bounds, in_blocks, spans_of_queries

XP: Any = jnp
EXACT_PRODUCTS = (None, "highest", "float32", "F32_F32_F32")
"""Settings of JAX for products of single precision for which they are exact."""


def flags_of(operands: Operands, static: StaticProblem, blocks: Blocks, mask: Any) -> Flags:
    """Return what kernels are compiled for."""
    query: Any = operands.query
    return Flags(
        static.visibility.queries,
        static.visibility.keys,
        blocks.queries,
        blocks.keys,
        causal=static.visibility.causal,
        masked=mask is not None,
        weighting=static.weighting.__name__,
        powers=powers_of(static, query.dtype, xp=XP),
        directions=static.directions,
        has_temperature=static.has_temperature,
        two_sided=operands.missing.shape[-1] > 0,
        share=log_share(static),
        exact=getattr(jax.config, "jax_default_matmul_precision", None) in EXACT_PRODUCTS,
    )


class _Levels(NamedTuple):
    """Levels of tokens in each direction, and those of the greatest influence in each block."""

    size: int
    given: list[Any]  # (g, tokens, terms)
    references: list[Any]  # (g, blocks)

    @classmethod
    def of(cls, levels: Any, flags: Flags, size: int, *, of_queries: bool) -> _Levels:
        """Return the levels of blocks of a size."""
        given = in_directions(levels, flags)
        found = [bounds(level[..., 0], size) for level in given]
        return cls(size, given, [known(x.greatest if of_queries else x.least) for x in found])

    def terms(self) -> tuple[tuple[Any, ...], ...]:
        """Return the terms in each direction in single precision, padded."""
        return tuple(
            tuple(
                pad(x, self.size) for i in range(level.shape[-1]) for x in terms_of(level[..., i])
            )
            for level in self.given
        )

    def influence(self, side: int, sign: float) -> Any:
        """Return the logarithm of influence relative to the reference, padded."""
        level = self.given[side]
        first = level[..., 0] - by_token(self.references[side], level, self.size)
        total = sign * (first + jnp.sum(level[..., 1:], axis=-1))
        return pad(total.astype(F32), self.size)

    def sides(self, found: list[Any], sign: float) -> tuple[Side, ...]:
        """Return the numbers of tokens on each side, padded."""
        sides = []
        for side, (log_decay, variance) in enumerate(found):
            influence = self.influence(side, sign) if self.given else None
            shown = None if influence is None else jnp.exp(influence)
            decayed = pad(jnp.exp(log_decay), self.size, 1.0)
            sides.append(Side(decayed, pad(variance, self.size, 1.0), influence, shown))
        return tuple(sides)


def _table(times: list[Any], levels: list[Any]) -> Any:
    """Return two terms of the time and of the level of each block, (g, blocks, 4·sides)."""
    columns = []
    for side, each in enumerate(times):
        columns += two_terms(each)
        columns += two_terms(levels[side]) if levels else [jnp.zeros_like(each, F32)] * 2
    return jnp.stack(columns, axis=-1)


def far_weights(operands: Operands, flags: Flags) -> Any:
    """Return log Σ_j a_ij of each key block and all beyond it, without the query's level."""
    own: Any = operands
    levels = [-jnp.sum(x, axis=-1) for x in in_directions(own.key_level, flags)]
    levels = [in_blocks(x, flags.block_k, -jnp.inf) for x in levels]
    blocks = [jax.nn.logsumexp(x, axis=2) for x in levels]
    far = [lax.cumlogsumexp(x, axis=1, reverse=side > 0) for side, x in enumerate(blocks)]
    finite: Any = all_tokens_finite(operands, xp=XP)  # else every row visits them
    return jnp.where(finite, jnp.stack(far, axis=-1), jnp.inf)


def prepare(operands: Operands, static: StaticProblem, flags: Flags, mask: Any) -> Inputs:
    """Return the arrays of the forward."""
    if operands.query.dtype != jnp.float16:  # whose squares are in range of single precision
        operands = bounded_tokens(operands, xp=XP)
    own: Any = operands
    timing = timing_of(operands)
    references = references_of(timing, flags)
    of_queries, of_keys = factors(timing, references, flags)
    scale: Any = scale_of(operands, static, xp=XP)
    norms = Norms(*(jnp.sum(jnp.square(x.astype(F32)), -1, keepdims=True) for x in own[:2]))
    at_queries = _Levels.of(own.query_level, flags, flags.block_q, of_queries=True)
    at_keys = _Levels.of(own.key_level, flags, flags.block_k, of_queries=False)
    in_time = None
    if not static.regular:
        in_time = bounds(timing.query_times, flags.block_q), bounds(timing.key_times, flags.block_k)

    def padded(x: Any, value: float = 0.0) -> Any:
        return pad(x, flags.block_q, value)

    queries = Tokens(
        pad_channels(padded(own.query)),
        None,
        padded((scale * norms.query)[..., 0]),
        padded(timing.noise, 1.0),
        padded(own.missing[..., 0].astype(F32)) if flags.two_sided else None,
        tuple(map(padded, terms_of(timing.query_times))),
        at_queries.terms(),
        at_queries.sides(of_queries, sign=1.0),
    )
    return Inputs(
        queries,
        _keys(operands, timing.key_times, scale * norms.key, at_keys, of_keys),
        _table(references.queries, at_queries.references),
        _table(references.keys, at_keys.references),
        spans_of_queries(in_time, own.query.shape[0], flags),
        None if flags.share is None else _two_terms_each(far_weights(operands, flags)),
        _mask_of(mask, static, flags),
        pad_channels(pad(own.value, flags.block_k)),
        _model(operands, norms, scale, flags),
    )


def _keys(operands: Any, times: Any, square: Any, levels: _Levels, found: list[Any]) -> Tokens:
    """Return the arrays of keys, whose values are finite."""
    size, value = levels.size, jnp.where(jnp.isfinite(operands.value), operands.value, 0)
    return Tokens(
        pad_channels(pad(operands.key, size)),
        pad_channels(pad(value, size)),
        pad(square[..., 0], size),
        None,
        None,
        tuple(pad(x, size) for x in terms_of(times)),
        levels.terms(),
        levels.sides(found, sign=-1.0),
    )


def _two_terms_each(x: Any) -> Any:
    terms = jnp.stack(two_terms(x), axis=-1)
    return terms.reshape(*x.shape[:-1], -1)


def _model(operands: Operands, norms: Norms, scale: Any, flags: Flags) -> Any:
    """Return the parameters of each head in the order of `Model`."""
    own: Any = operands
    unit, powers = units_of_heads(operands, norms, scale, flags.powers[0], F32, xp=XP)
    nonfinite = jnp.any(jnp.logical_not(jnp.isfinite(own.value)), axis=(1, 2))
    given: Any = (*own[5:8], scale, own.dof, own.inverse_temperature, unit, powers, nonfinite)
    return jnp.stack([x.reshape(-1).astype(F32) for x in given], axis=-1)


def _mask_of(mask: Any, static: StaticProblem, flags: Flags) -> Any:
    """Return the mask as bytes, padded to whole blocks."""
    if mask is None:
        return None
    found: Any = compact_mask(mask, static, xp=XP)
    more = (
        0 if found.shape[1] == 1 else -found.shape[1] % flags.block_q,
        -flags.keys % flags.block_k,
    )
    return jnp.pad(found.astype(jnp.int8), [(0, 0), *((0, each) for each in more)])
