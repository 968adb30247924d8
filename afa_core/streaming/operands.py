"""What tiles are made of: rotated tokens, times and parameters under one leading axis.

`Operands` holds all that a gradient is taken of, `Fixed` all that is known without values.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, cast

from afa_core.arrays import Array, Namespace, Parameter, device_of, is_number
from afa_core.pairs import Pair, angle, pack, rotate
from afa_core.problem import Problem
from afa_core.visibility import Visibility
from afa_core.weighting import Gaussian, Rational, StudentT, Uniform

GREATEST_POWER = 9


class Operands(NamedTuple):
    """Arrays with one leading axis, batch and heads in one; times are in the widest dtype."""

    query: Array  # (g, n, 2d), real parts before imaginary parts, turned back to time zero
    key: Array  # (g, m, 2d)
    value: Array  # (g, m, 2d_v)
    query_times: Array  # (g, n)
    key_times: Array  # (g, m)
    decay: Array  # (g, 1), as is every parameter
    process: Array
    measurement: Array
    anchor: Array  # γ²
    dof: Array
    inverse_temperature: Array


class Fixed(NamedTuple):
    """What is known of a problem while it is traced."""

    leading: tuple[int, ...]
    modes: int
    weighting: type[Any]
    power: int  # p where the weight is Σ^{p−1} x^{−p}, x = Σ + cρ; 0 where it takes a logarithm
    tempered: bool  # whether β is anything but the number 1
    regular: bool  # whether times are the places in the sequence
    visibility: Visibility
    heads: slice = slice(None)  # which of the flattened leading axes the operands hold


def operands(p: Problem, *, xp: Namespace) -> tuple[Operands, Fixed]:
    """Gather what an isotropic problem is made of."""
    sde, heads = p.sde, prod(p.leading)
    device, dtype = device_of(p.query.real), p.query.real.dtype

    def tokens(modes: Pair, frequency: Parameter, times: Array) -> Array:
        packed = pack(rotate(modes, -angle(frequency, times), xp=xp), xp=xp)
        core = packed.shape[-2:]
        return xp.reshape(xp.broadcast_to(packed, (*p.leading, *core)), (heads, *core))

    def row(x: Array) -> Array:
        size = x.shape[-1]
        return xp.reshape(xp.broadcast_to(x, (*p.leading, size)), (heads, size))

    def parameter(x: Parameter) -> Array:
        if is_number(x):
            return xp.full((heads, 1), x, dtype=dtype, device=device)
        return xp.reshape(xp.broadcast_to(x, p.leading), (heads, 1))

    dof = getattr(p.weighting, "dof", 1.0)
    found = Operands(
        tokens(p.query, sde.frequency, p.query_times),
        tokens(p.key, sde.frequency, p.key_times),
        tokens(p.value, sde.value_frequency, p.key_times),
        row(p.query_times),
        row(p.key_times),
        *(parameter(x) for x in (sde.decay, *sde.noise, dof, p.inverse_temperature)),
    )
    tempered = not (is_number(p.inverse_temperature) and p.inverse_temperature == 1.0)
    fixed = Fixed(
        p.leading,
        p.modes,
        type(p.weighting),
        0 if tempered else _power(p.weighting),
        tempered,
        p.regular,
        p.visibility,
    )
    return found, fixed


def _power(weighting: Any) -> int:
    """Return the exponent p of a weight that is a product of integer powers, else 0."""
    if isinstance(weighting, Rational):
        return 1
    if isinstance(weighting, StudentT) and is_number(weighting.dof):
        power = float(cast(float, weighting.dof)) + 1.0
        return int(power) if power.is_integer() and 1.0 < power <= GREATEST_POWER else 0
    return 0


def part(o: Operands, fixed: Fixed, heads: slice) -> tuple[Operands, Fixed]:
    """Return some of the heads."""
    return Operands(*(x[heads, ...] for x in o)), fixed._replace(heads=heads)


def scale_of(fixed: Fixed, o: Operands, *, xp: Namespace) -> Array:
    """Return c of x = Σ + cρ, (g, 1): 1/(ν_s d), or 1/d for a weight without ν_s."""
    if fixed.weighting in (Gaussian, Uniform):
        return 1.0 / (xp.ones_like(o.dof) * fixed.modes)
    return 1.0 / (o.dof * fixed.modes)
