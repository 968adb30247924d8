"""Decay and variance of tokens relative to the references of their blocks, and their padding."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from afa_core.model.covariance import phi1
from afa_core.streaming.operands import Operands, query_noise_of
from afa_jax.pallas.arguments import EARLIER, Flags
from afa_jax.pallas.spans import bounds

XP: Any = jnp
F32 = jnp.float32


class Timing(NamedTuple):
    """What decay and variance of tokens are computed from."""

    query_times: Any  # (g, n)
    key_times: Any
    decay: Any  # (g, 1)
    process: Any
    measurement: Any
    noise: Any  # γ², (g, n)


class References(NamedTuple):
    """Of each block the time to which its tokens are relative on each side, (g, blocks)."""

    queries: list[Any]
    keys: list[Any]


def timing_of(operands: Operands) -> Timing:
    """Return what decay and variance of tokens are computed from."""
    own: Any = operands
    noise: Any = query_noise_of(operands)
    noise = jnp.broadcast_to(noise[..., 0].astype(F32), own.query.shape[:2])
    decay, process, measurement = (
        x[..., 0].astype(F32) for x in (own.decay, own.process, own.measurement)
    )
    times = own.query_times[..., 0], own.key_times[..., 0]
    return Timing(*times, decay, process, measurement, noise)


def known(x: Any) -> Any:
    """Return numbers as constants, zero where they are not finite."""
    return lax.stop_gradient(jnp.where(jnp.isfinite(x), x, 0.0))


def references_of(timing: Timing, flags: Flags) -> References:
    """Return the reference times of all blocks: between the two of a tile on one side."""
    query = bounds(timing.query_times, flags.block_q)
    key = bounds(timing.key_times, flags.block_k)
    count = sides_of(flags)
    queries, keys = (query.least, query.greatest), (key.greatest, key.least)
    return References(*([known(x) for x in each[:count]] for each in (queries, keys)))


def sides_of(flags: Flags) -> int:
    """Return on how many sides tiles may be."""
    return 1 if flags.causal or flags.directions == 1 else 2


def factors(timing: Timing, references: References, flags: Flags) -> tuple[Any, Any]:
    """Return log E and variance of queries and of keys on each side, (g, tokens)."""

    def factor(lag: Any, own: Any, *, of_queries: bool) -> tuple[Any, Any]:
        lag = lag.astype(F32)
        log_decay = -timing.decay * lag
        variance = timing.process * lag * phi1(2.0 * log_decay, xp=XP)
        own = own if of_queries else own * jnp.exp(2.0 * log_decay)
        return log_decay, variance + own

    queries, keys = [], []
    for side in range(sides_of(flags)):
        sign = 1.0 if side == EARLIER else -1.0
        query = by_token(references.queries[side], timing.query_times, flags.block_q)
        key = by_token(references.keys[side], timing.key_times, flags.block_k)
        lags = sign * (timing.query_times - query), sign * (key - timing.key_times)
        queries.append(factor(lags[0], timing.noise, of_queries=True))
        keys.append(factor(lags[1], timing.measurement, of_queries=False))
    return queries, keys


def by_token(x: Any, like: Any, size: int) -> Any:
    """Return numbers of blocks, (g, blocks), for each token, (g, tokens)."""
    return jnp.repeat(x, size, axis=1)[:, : like.shape[1]]


def terms_of(x: Any) -> tuple[Any, ...]:
    """Return numbers as sums of numbers in single precision."""
    if x.dtype == F32:
        return (x,)
    high = lax.reduce_precision(x, 8, 23)
    low = jnp.where(jnp.isfinite(high), x - high, 0.0)
    return high.astype(F32), low.astype(F32)


def two_terms(x: Any) -> list[Any]:
    """Return two terms of numbers, the second zero in single precision."""
    terms = [*terms_of(x)]
    return [*terms, *[jnp.zeros_like(x, F32)] * (2 - len(terms))]


def in_directions(level: Any, flags: Flags) -> list[Any]:
    """Return the terms of levels in each direction, (g, tokens, terms)."""
    return jnp.split(level[..., 0], flags.directions, axis=2) if flags.directions else []


def pad(x: Any, size: int, value: float = 0.0) -> Any:
    """Fill up an array of tokens to whole blocks."""
    widths = [(0, -x.shape[1] % size if axis == 1 else 0) for axis in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=value) if widths[1][1] else x


def pad_channels(x: Any) -> Any:
    """Fill up channels to a power of two of at least 16."""
    width = max(16, 1 << (x.shape[-1] - 1).bit_length())
    return x if width == x.shape[-1] else jnp.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))
