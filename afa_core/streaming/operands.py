"""The operands of tiles: rotated tokens, times and parameters under one leading axis.

`Operands` holds every array that has a gradient, `StaticProblem` what is known without values.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, prod
from typing import NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, Parameter, device_of, is_number
from afa_core._array.masks import Visibility
from afa_core._array.pairs import Layout, Pair, bounded, conjugate, largest_square
from afa_core._checks.problem import Problem
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    IsotropicSDE,
    RadialTangential,
    RadialTangentialSDE,
)
from afa_core.model.weighting import Gaussian, Uniform, Weighting, integer_power_of
from afa_core.streaming.influence import StreamedInfluence
from afa_core.streaming.operations import Operations
from afa_core.streaming.phases import Phases, Rotate

QUERIES = "query", "query_times", "query_variance", "query_level", "missing"
KEYS = "key", "value", "key_times", "key_level"
"""Operands that have an axis of queries, and those that have one of keys."""


class Operands(NamedTuple):
    """Arrays whose first axis, g, is batch and heads flattened, and whose second is tokens.

    Tokens are packed in the order that `channel_order` gives, and rotated back to time zero. The
    axis of components has s = 1 entries, 2 in the radial–tangential form, d in the diagonal one.
    """

    query: Array  # (g, n, 2d)
    key: Array  # (g, m, 2d)
    value: Array  # (g, m, 2d_v)
    query_times: Array  # (g, n, 1), in the widest dtype
    key_times: Array  # (g, m, 1)
    decay: Array  # (g, 1, 1), in the diagonal form (g, 1, d)
    process: Array  # (g, 1, s)
    measurement: Array  # (g, 1, s)
    query_noise: Array  # (g, 1, s)
    dof: Array  # (g, 1, 1)
    inverse_temperature: Array  # (g, 1, 1)
    query_variance: Array  # γ² of each query, beside `query_noise`, (g, n, s), or (g, n, 0)
    # of correlated keys, in the widest dtype; t terms in each direction, none of independent keys
    query_level: Array  # (g, n, t, s)
    key_level: Array  # (g, m, t, s): log a_ij = Σ query_level_i − key_level_j
    missing: Array  # log (1 − Σ_j a_ij), (g, n, s), where keys are on both sides, else (g, n, 0)


class Norms(NamedTuple):
    """Squared lengths of tokens."""

    query: Array  # ‖q‖², (g, n, 1)
    key: Array  # ‖k‖², (g, m, 1)


def squared_norms(operands: Operands, norm2: Callable[[Array], Array]) -> Norms:
    """Return the squared lengths of queries and keys, formed by the given function."""
    return Norms(norm2(operands.query), norm2(operands.key))


def too_long(norms: Norms, ops: Operations, *, xp: Namespace) -> Norms | None:
    """Return which tokens are too long for the squares of residuals, None if it is known of none.

    They are taken as `bounded`, and as constants: gradients in them would be rounding errors.
    """
    largest = largest_square(norms.query, xp=xp)
    found = Norms(*(x > largest for x in norms))
    if ops.read is not None and not any(ops.read(xp.any(x)) for x in found):
        return None
    return found


def query_noise_of(operands: Operands) -> Array:
    """Return γ² with that of each query, (g, n, s), or without, (g, 1, s)."""
    own = operands.query_variance
    return operands.query_noise + own if own.shape[-1] else operands.query_noise


def bounded_tokens(operands: Operands, *, xp: Namespace) -> Operands:
    """Return operands whose queries and keys are bounded."""
    channels = operands.query.shape[-1]
    query, key = (bounded(x, channels, xp=xp) for x in (operands.query, operands.key))
    return operands._replace(query=query, key=key)


def components_of(form: type[SDE], modes: int) -> int:
    """Return the number of components s of a form's covariance, each with weights of its own."""
    return {DiagonalSDE: modes, RadialTangentialSDE: 2}.get(form, 1)


class StaticProblem(NamedTuple):
    """What is known of a problem without the values of its arrays, as while tracing."""

    leading: tuple[int, ...]
    modes: int
    form: type[SDE]
    weighting: type[Weighting]
    power: int  # p where the weight is Σ^{p−1} x^{−p}, x = Σ + cρ; 0 where it takes a logarithm
    has_temperature: bool  # whether β is anything but the number 1
    regular: bool  # whether times are the places in the sequence
    visibility: Visibility
    directions: int = 0  # in which correlated keys have influence; none of independent keys
    tolerance: float = 0.0  # share of the weight of a row that early exit may leave out
    heads: slice = slice(None)  # which of the flattened leading axes the operands hold

    @property
    def log_share(self) -> float:
        """Logarithm of the share of a row that early exit may leave out on each side."""
        return log(self.tolerance) - log(self.directions)

    @property
    def components(self) -> int:
        """Number s of components: one for all modes, radial and tangential, or one per mode."""
        return components_of(self.form, self.modes)

    @property
    def estimates(self) -> int:
        """Number of estimates of all modes: two in the radial–tangential form, else one."""
        return 2 if self.form is RadialTangentialSDE else 1

    @property
    def groups(self) -> int:
        """Number of groups of modes that share E: one per mode in the diagonal form, else one."""
        return self.components // self.estimates


def channel_order(problem: Problem) -> Layout:
    """Return the layout of modes in tiles; the isotropic form, all dot products, takes any."""
    return problem.order if isinstance(problem.sde, IsotropicSDE) else "halves"


def operands_of(
    problem: Problem,
    phases: Phases,
    rotate: Rotate,
    influence: StreamedInfluence | None = None,
    token_dtype: DType | None = None,
    *,
    xp: Namespace,
) -> tuple[Operands, StaticProblem]:
    """Flatten the leading axes of a problem and rotate its tokens back to time zero.

    Tokens get the given dtype, parameters that of the computation.
    """
    sde, heads, order = problem.sde, prod(problem.leading), channel_order(problem)
    device, dtype = device_of(problem.packed.query), problem.packed.query.dtype
    per_mode = (problem.modes,) if isinstance(sde, DiagonalSDE) else ()

    def tokens(x: Array, phase: Pair) -> Array:
        packed = rotate(x, conjugate(phase), problem.order, order, xp=xp)
        packed = xp.astype(packed, token_dtype or packed.dtype, copy=False)
        core = packed.shape[-2:]
        if packed.shape != (*problem.leading, *core):  # NumPy would return what cannot be written
            packed = xp.broadcast_to(packed, (*problem.leading, *core))
        return xp.reshape(packed, (heads, *core))

    def column(x: Array) -> Array:
        size = x.shape[-1]
        return xp.reshape(xp.broadcast_to(x, (*problem.leading, size)), (heads, size, 1))

    def parameter(x: Parameter, trailing: tuple[int, ...] = per_mode) -> Array:
        shape = (heads, 1, *(trailing or (1,)))
        if is_number(x):
            return xp.full(shape, x, dtype=dtype, device=device)
        return xp.reshape(xp.broadcast_to(x, (*problem.leading, *trailing)), shape)

    if isinstance(sde, RadialTangentialSDE):
        both = zip(sde.radial_noise, sde.tangential_noise, strict=True)
        noise = (xp.concat([parameter(x) for x in each], axis=-1) for each in both)
    else:
        noise = (parameter(x) for x in sde.noise)
    process, measurement, query_noise = noise
    if problem.query_variance is not None:
        query_noise = xp.zeros_like(query_noise)
    operands = Operands(
        tokens(problem.packed.query, phases.query),
        tokens(problem.packed.key, phases.key),
        tokens(problem.packed.value, phases.value),
        column(problem.query_times),
        column(problem.key_times),
        parameter(sde.decay),
        process,
        measurement,
        query_noise,
        parameter(getattr(problem.weighting, "dof", 1.0), ()),
        parameter(problem.inverse_temperature, ()),
        *_per_query(problem, influence, xp=xp),
    )
    return operands, static_of(problem, influence)


def _per_query(
    problem: Problem, influence: StreamedInfluence | None, *, xp: Namespace
) -> tuple[Array, ...]:
    """Return the operands that only some problems have, from γ² of queries on; empty otherwise."""
    heads, queries, keys = prod(problem.leading), *problem.visibility[:2]
    like, components = problem.packed.query, components_of(type(problem.sde), problem.modes)
    device = device_of(like)

    def empty(tokens: int, *rest: int) -> Array:  # by a cut, since Dask makes nothing of no size
        return xp.zeros((heads, tokens, 1, *rest), dtype=like.dtype, device=device)[:, :, :0, ...]

    def flat(x: Array, axes: int) -> Array:
        core = x.shape[-axes:]
        return xp.reshape(xp.broadcast_to(x, (*problem.leading, *core)), (heads, *core))

    variance, of_queries = problem.query_variance, empty(queries)
    if variance is not None:
        if isinstance(variance, RadialTangential):
            variance = xp.stack(xp.broadcast_arrays(*variance), axis=-1)
        elif not isinstance(problem.sde, DiagonalSDE):
            variance = variance[..., None]
        of_queries = flat(xp.broadcast_to(variance, (*variance.shape[:-1], components)), 2)
    if influence is None:
        levels = empty(queries, components), empty(keys, components)
        return of_queries, *levels, empty(queries)
    missing = influence.log_missing(xp=xp)
    return (
        of_queries,
        flat(influence.query_level, 3),
        flat(influence.key_level, 3),
        empty(queries) if missing is None else flat(problem.narrow(missing, xp=xp), 2),
    )


def static_of(problem: Problem, influence: StreamedInfluence | None) -> StaticProblem:
    """Return what is known of a problem without the values of its arrays."""
    beta = problem.inverse_temperature
    return StaticProblem(
        problem.leading,
        problem.modes,
        type(problem.sde),
        type(problem.weighting),
        integer_power_of(problem.weighting, beta),
        not (is_number(beta) and beta == 1.0),
        problem.regular,
        problem.visibility,
        0 if influence is None else influence.directions,
        problem.tolerance,
    )


def part(operands: Operands, static: StaticProblem, heads: slice) -> tuple[Operands, StaticProblem]:
    """Return a slice of the heads."""
    return Operands(*(x[heads, ...] for x in operands)), static._replace(heads=heads)


def residual_scale(static: StaticProblem, operands: Operands, *, xp: Namespace) -> Array:
    """Return c of x = Σ + cρ, (g, 1, 1): 1/(ν_s d), or 1/d for a weight without ν_s."""
    if static.weighting in (Gaussian, Uniform):
        return 1.0 / (xp.ones_like(operands.dof) * static.modes)
    return 1.0 / (operands.dof * static.modes)
