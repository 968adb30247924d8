"""A problem as compiled loops take it, from the operands of tiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform
from afa_core.streaming.operands import Operands, StaticProblem, query_noise_of
from afa_core.streaming.visible import flatten_mask
from afa_numpy.fused.weights import GAUSSIAN, RATIONAL, STUDENT, UNIFORM

NUMPY: Any = np
WEIGHTINGS = {Gaussian: GAUSSIAN, Rational: RATIONAL, StudentT: STUDENT, Uniform: UNIFORM}


class Arrays(NamedTuple):
    """Arrays of g heads, n queries, m keys and s components; parameters in double precision."""

    query: Any  # (g, n, 2d)
    key: Any  # (g, m, 2d)
    value: Any  # (g, m, 2d_v)
    query_times: Any  # (g, n)
    key_times: Any  # (g, m)
    decay: Any  # (g, s), or (g, 1) where all modes share E
    process: Any  # (g, s)
    measurement: Any  # (g, s)
    query_noise: Any  # (g, n, s)
    scale: Any  # c, (g,)
    dof: Any  # (g,)
    inverse_temperature: Any  # (g,)
    query_level: Any  # (g, n, directions, s)
    key_level: Any  # (g, m, directions, s)
    missing: Any  # (g, n, s), or (g, 0, s)
    mask: Any  # (1 or g, 1 or n, m), or (1, 1, 0)


class Flags(NamedTuple):
    """What is known without values; each form has a type of its own, for which loops compile."""

    causal: bool
    regular: bool
    weighting: int
    power: int  # p, −1 where weights take a logarithm
    directions: int  # in which correlated keys have influence, 0 of independent ones
    has_temperature: bool  # whether β is anything but 1
    size: int  # queries, and keys, in a tile, at most `BLOCK`
    tolerance: float


class IsotropicFlags(Flags):
    """Of the isotropic form."""


class RadialTangentialFlags(Flags):
    """Of the radial–tangential form."""


class DiagonalFlags(Flags):
    """Of the diagonal form."""


FLAGS: dict[type[SDE], type[Flags]] = {
    IsotropicSDE: IsotropicFlags,
    RadialTangentialSDE: RadialTangentialFlags,
    DiagonalSDE: DiagonalFlags,
}
"""By form."""


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

    def components(x: Any) -> Any:
        return wide(x.reshape(heads, x.shape[-1]))

    noise: Any = query_noise_of(operands)
    sided = operands.missing.shape[-1] > 0
    dof = number(operands.dof)
    per_mode = dof if static.weighting in (StudentT, Rational) else np.ones(heads)
    scale = 1.0 / (static.modes * per_mode) if static.weighting is not Uniform else np.zeros(heads)
    return Arrays(
        query=whole(operands.query),
        key=whole(operands.key),
        value=whole(operands.value),
        query_times=wide(operands.query_times[..., 0]),
        key_times=wide(operands.key_times[..., 0]),
        decay=components(operands.decay),
        process=components(operands.process),
        measurement=components(operands.measurement),
        query_noise=whole(np.broadcast_to(noise, (heads, queries, static.components))),
        scale=scale,
        dof=dof,
        inverse_temperature=number(operands.inverse_temperature),
        query_level=wide(operands.query_level),
        key_level=wide(operands.key_level),
        missing=wide(operands.missing if sided else np.empty((1, 0, static.components))),
        mask=whole(_mask_of(static)),
    )


def _mask_of(static: StaticProblem) -> Any:
    """Return the mask in as few rows as it has; without keys if there is none."""
    mask: Any = static.visibility.mask
    if mask is None:
        return np.empty((1, 1, 0), dtype=np.bool_)
    rows = mask.shape[-2] if mask.shape[-2] == static.visibility.queries else 1
    mask = np.broadcast_to(mask, (*mask.shape[:-2], rows, static.visibility.keys))
    return flatten_mask(mask, static, xp=NUMPY)


def flags_of(static: StaticProblem, size: int) -> Flags:
    """Return the flags of a problem."""
    power = static.power
    if static.weighting is Uniform and not static.has_temperature:
        power = 0 if static.directions else 1
    elif not power:
        power = -1
    return FLAGS[static.form](
        static.visibility.causal,
        static.regular,
        WEIGHTINGS[static.weighting],
        power,
        static.directions,
        static.has_temperature,
        size,
        static.tolerance,
    )
