"""A problem as compiled loops take it, from the operands of tiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.streaming.visible import flatten_mask
from afa_numpy.fused.weights import GAUSSIAN, RATIONAL, STUDENT, UNIFORM

NUMPY: Any = np
WEIGHTINGS = {Gaussian: GAUSSIAN, Rational: RATIONAL, StudentT: STUDENT, Uniform: UNIFORM}


class Arrays(NamedTuple):
    """Arrays of g heads, n queries and m keys; parameters in double precision."""

    query: Any  # (g, n, 2d)
    key: Any  # (g, m, 2d)
    value: Any  # (g, m, 2d_v)
    query_times: Any  # (g, n)
    key_times: Any  # (g, m)
    decay: Any  # (g,)
    process: Any  # (g,)
    measurement: Any  # (g,)
    query_noise: Any  # (g, n)
    scale: Any  # c, (g,)
    dof: Any  # (g,)
    inverse_temperature: Any  # (g,)
    query_level: Any  # (g, n, directions)
    key_level: Any  # (g, m, directions)
    missing: Any  # (g, n), or (g, 0)
    mask: Any  # (1 or g, 1 or n, m), or (1, 1, 0)


class Flags(NamedTuple):
    """What is known without values."""

    causal: bool
    regular: bool
    weighting: int
    power: int  # p, −1 where weights take a logarithm
    directions: int  # in which correlated keys have influence, 0 of independent ones
    has_temperature: bool  # whether β is anything but 1
    size: int  # queries, and keys, in a tile, at most `BLOCK`
    tolerance: float


def arrays_of(given: Operands, static: StaticProblem) -> Arrays:
    """Return the arrays of a problem; tokens, contiguous ones, are not copied."""
    operands: Any = given
    heads, queries = operands.query.shape[:2]

    def whole(x: Any, dtype: Any = None) -> Any:
        x = np.ascontiguousarray(x, dtype=dtype)
        return x if x.flags.writeable else x.copy()  # others would be compiled for anew

    def wide(x: Any) -> Any:
        return whole(x, np.float64)

    def number(x: Any) -> Any:
        return wide(x.reshape(heads))

    sided, noise = operands.missing.shape[-1] > 0, operands.query_noise[..., 0]
    if operands.query_variance.shape[-1]:
        noise = noise + operands.query_variance[..., 0]
    dof = number(operands.dof)
    per_mode = dof if static.weighting in (StudentT, Rational) else np.ones(heads)
    scale = 1.0 / (static.modes * per_mode) if static.weighting is not Uniform else np.zeros(heads)
    mask: Any = static.visibility.mask
    if mask is None:
        mask = np.empty((1, 1, 0), dtype=np.bool_)
    else:
        rows = mask.shape[-2] if mask.shape[-2] == queries else 1
        mask = np.broadcast_to(mask, (*mask.shape[:-2], rows, static.visibility.keys))
        mask = flatten_mask(mask, static, xp=NUMPY)
    return Arrays(
        query=whole(operands.query),
        key=whole(operands.key),
        value=whole(operands.value),
        query_times=wide(operands.query_times[..., 0]),
        key_times=wide(operands.key_times[..., 0]),
        decay=number(operands.decay),
        process=number(operands.process),
        measurement=number(operands.measurement),
        query_noise=whole(np.broadcast_to(noise, (heads, queries))),
        scale=scale,
        dof=dof,
        inverse_temperature=number(operands.inverse_temperature),
        query_level=wide(operands.query_level[..., 0]),
        key_level=wide(operands.key_level[..., 0]),
        missing=wide(operands.missing[..., 0] if sided else np.empty((1, 0))),
        mask=whole(mask),
    )


def flags_of(static: StaticProblem, size: int) -> Flags:
    """Return the flags of a problem."""
    power = static.power
    if static.weighting is Uniform and not static.has_temperature:
        power = 0 if static.directions else 1
    elif not power:
        power = -1
    return Flags(
        static.visibility.causal,
        static.regular,
        WEIGHTINGS[static.weighting],
        power,
        static.directions,
        static.has_temperature,
        size,
        0.0 if static.has_temperature else static.tolerance,
    )
