"""What tiles are made of: rotated tokens, times and parameters under one leading axis.

`Operands` holds all that a gradient is taken of, `Fixed` all that is known without values.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple, cast

from afa_core._array.arrays import Array, Namespace, Parameter, device_of, is_number
from afa_core._array.masks import Visibility
from afa_core._array.pairs import Layout, Pair, conjugate
from afa_core._checks.problem import Problem
from afa_core.model.sde import DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE
from afa_core.model.weighting import Gaussian, Uniform, power_of
from afa_core.streaming.phases import Phases, Turn

QUERIES, KEYS = ("query", "query_times"), ("key", "value", "key_times")
"""Operands that have an axis of queries, and those that have one of keys."""


class Operands(NamedTuple):
    """Arrays with one leading axis, batch and heads in one, and one of tokens.

    Tokens are packed, and turned back to time zero; in which order says `order_of`.

    The axis of noises has s = 1 entries, 2 in the radial–tangential form, d in the diagonal one.
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


class Norms(NamedTuple):
    """Squared lengths of tokens."""

    query: Array  # ‖q‖², (g, n, 1)
    key: Array  # ‖k‖², (g, m, 1)


def norms_of(o: Operands, norm2: Callable[[Array], Array]) -> Norms:
    """Return them as a library forms them."""
    return Norms(norm2(o.query), norm2(o.key))


def sets_of(form: type[Any], modes: int) -> int:
    """Return the number of sets of weights of a form."""
    return {DiagonalSDE: modes, RadialTangentialSDE: 2}.get(form, 1)


class Fixed(NamedTuple):
    """What is known of a problem while it is traced."""

    leading: tuple[int, ...]
    modes: int
    form: type[Any]
    weighting: type[Any]
    power: int  # p where the weight is Σ^{p−1} x^{−p}, x = Σ + cρ; 0 where it takes a logarithm
    tempered: bool  # whether β is anything but the number 1
    regular: bool  # whether times are the places in the sequence
    visibility: Visibility
    heads: slice = slice(None)  # which of the flattened leading axes the operands hold

    @property
    def sets(self) -> int:
        """Number s of sets of weights: for all modes, along and across the anchor, per mode."""
        return sets_of(self.form, self.modes)

    @property
    def estimates(self) -> int:
        """Number of estimates of all modes: along and across the anchor there are two."""
        return 2 if self.form is RadialTangentialSDE else 1


def order_of(p: Problem) -> Layout:
    """Return the order of modes in tiles: any will do where only their dot products count."""
    return p.order if isinstance(p.sde, IsotropicSDE) else "halves"


def operands(p: Problem, by: Phases, turn: Turn, *, xp: Namespace) -> tuple[Operands, Fixed]:
    """Gather what a problem is made of; its tokens are turned back."""
    sde, heads, order = p.sde, prod(p.leading), order_of(p)
    device, dtype = device_of(p.packed.query), p.packed.query.dtype
    per_mode = (p.modes,) if isinstance(sde, DiagonalSDE) else ()

    def tokens(x: Array, phase: Pair) -> Array:
        packed = turn(x, conjugate(phase), p.order, order, xp=xp)
        core = packed.shape[-2:]
        return xp.reshape(xp.broadcast_to(packed, (*p.leading, *core)), (heads, *core))

    def column(x: Array) -> Array:
        size = x.shape[-1]
        return xp.reshape(xp.broadcast_to(x, (*p.leading, size)), (heads, size, 1))

    def parameter(x: Parameter, trailing: tuple[int, ...] = per_mode) -> Array:
        shape = (heads, 1, *(trailing or (1,)))
        if is_number(x):
            return xp.full(shape, x, dtype=dtype, device=device)
        return xp.reshape(xp.broadcast_to(x, (*p.leading, *trailing)), shape)

    if isinstance(sde, RadialTangentialSDE):
        both = zip(sde.radial_noise, sde.tangential_noise, strict=True)
        noise = Noise(*(xp.concat([parameter(x) for x in each], axis=-1) for each in both))
    else:
        noise = Noise(*map(parameter, sde.noise))
    found = Operands(
        tokens(p.packed.query, by.query),
        tokens(p.packed.key, by.key),
        tokens(p.packed.value, by.value),
        column(p.query_times),
        column(p.key_times),
        parameter(sde.decay),
        *(cast(Array, x) for x in noise),
        *(parameter(x, ()) for x in (getattr(p.weighting, "dof", 1.0), p.inverse_temperature)),
    )
    tempered = not (is_number(p.inverse_temperature) and p.inverse_temperature == 1.0)
    fixed = Fixed(
        p.leading,
        p.modes,
        type(sde),
        type(p.weighting),
        power_of(p.weighting, p.inverse_temperature),
        tempered,
        p.regular,
        p.visibility,
    )
    return found, fixed


def part(o: Operands, fixed: Fixed, heads: slice) -> tuple[Operands, Fixed]:
    """Return some of the heads."""
    return Operands(*(x[heads, ...] for x in o)), fixed._replace(heads=heads)


def scale_of(fixed: Fixed, o: Operands, *, xp: Namespace) -> Array:
    """Return c of x = Σ + cρ, (g, 1, 1): 1/(ν_s d), or 1/d for a weight without ν_s."""
    if fixed.weighting in (Gaussian, Uniform):
        return 1.0 / (xp.ones_like(o.dof) * fixed.modes)
    return 1.0 / (o.dof * fixed.modes)
