"""Complex modes as pairs of real arrays: layouts, rotation, inner products (spec §8.1)."""

from __future__ import annotations

from math import sqrt
from typing import Literal, NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, Parameter, complex_dtype, insert_axes
from afa_core._array.products import matmul

Layout = Literal["interleaved", "halves"]


class Pair(NamedTuple):
    """d complex modes as their real and imaginary parts, each (..., d)."""

    real: Array
    imag: Array


def is_complex(x: Array, *, xp: Namespace) -> bool:
    """Whether an array holds complex modes itself, not pairs of reals."""
    return bool(xp.isdtype(x.dtype, "complex floating"))


def split(x: Array, layout: Layout, *, xp: Namespace) -> Pair:
    """Read modes from a complex array (..., d) or from real pairs (..., 2d)."""
    if is_complex(x, xp=xp):
        return Pair(xp.real(x), xp.imag(x))
    return unpack(x, layout)


def join(pair: Pair, layout: Layout, dtype: DType, *, xp: Namespace) -> Array:
    """Write modes as an array of `dtype`: complex (..., d) or real pairs (..., 2d)."""
    if xp.isdtype(dtype, "complex floating"):
        return xp.astype(to_complex(pair, xp=xp), dtype, copy=False)
    return xp.astype(pack(pair, layout, xp=xp), dtype, copy=False)


def to_complex(pair: Pair, *, xp: Namespace) -> Array:
    """Return x + iy as a complex array."""
    dtype = complex_dtype(xp, pair.real.dtype)
    return xp.astype(pair.real, dtype) + 1j * xp.astype(pair.imag, dtype)


def cast(pair: Pair, dtype: DType, *, xp: Namespace) -> Pair:
    """Cast both parts to a real dtype."""
    return Pair(xp.astype(pair.real, dtype, copy=False), xp.astype(pair.imag, dtype, copy=False))


def pack(pair: Pair, layout: Layout = "halves", *, xp: Namespace) -> Array:
    """Return a real vector (..., 2d) whose dot products are Re(a†b): [re | im], or interleaved."""
    if layout == "halves":
        return xp.concat([pair.real, pair.imag], axis=-1)
    shape = (*pair.real.shape[:-1], 2 * pair.real.shape[-1])
    return xp.reshape(xp.stack([pair.real, pair.imag], axis=-1), shape)


def unpack(packed: Array, layout: Layout = "halves") -> Pair:
    """Undo `pack`."""
    if layout == "interleaved":
        return Pair(packed[..., 0::2], packed[..., 1::2])
    modes = packed.shape[-1] // 2
    return Pair(packed[..., :modes], packed[..., modes:])


def angle(frequency: Parameter, times: Array) -> Array:
    """Return ωt, (..., n, d), in the dtype of the times."""
    return insert_axes(frequency, 1) * times[..., None]


def phase(by: Array, dtype: DType, *, xp: Namespace) -> Pair:
    """Return e^{iθ} in a dtype, formed in that of the angle θ."""
    return cast(Pair(xp.cos(by), xp.sin(by)), dtype, xp=xp)


def rotate(pair: Pair, by: Array, *, xp: Namespace) -> Pair:
    """Return e^{iθ} ⊙ z; cosine and sine are formed in the dtype of the angle θ."""
    return multiply(pair, phase(by, pair.real.dtype, xp=xp))


def multiply(a: Pair, b: Pair) -> Pair:
    """Return a ⊙ b."""
    return Pair(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def conjugate(pair: Pair) -> Pair:
    """Return z̄."""
    return Pair(pair.real, -pair.imag)


def rotate_packed(
    packed: Array, by: Pair, source: Layout = "halves", target: Layout = "halves", *, xp: Namespace
) -> Array:
    """Return e^{iθ} ⊙ z, packed, of packed modes z and phases e^{iθ}."""
    return pack(multiply(unpack(packed, source), by), target, xp=xp)


def scale(factor: Array, pair: Pair) -> Pair:
    """Return a real factor times z."""
    return Pair(factor * pair.real, factor * pair.imag)


def add(a: Pair, b: Pair) -> Pair:
    """Return a + b."""
    return Pair(a.real + b.real, a.imag + b.imag)


def subtract(a: Pair, b: Pair) -> Pair:
    """Return a − b."""
    return Pair(a.real - b.real, a.imag - b.imag)


def square(pair: Pair) -> Array:
    """Return |z|² of each mode, (..., d)."""
    return pair.real**2 + pair.imag**2


def norm2(pair: Pair, *, xp: Namespace) -> Array:
    """Return ‖z‖², (...): the sum of |z|² over the modes."""
    return xp.sum(square(pair), axis=-1)


def inner(a: Pair, b: Pair, *, xp: Namespace) -> Pair:
    """Return a†b of every row of a with every row of b, (..., n, m)."""
    real = matmul(pack(a, xp=xp), xp.matrix_transpose(pack(b, xp=xp)), xp=xp)
    rotated = Pair(b.imag, -b.real)
    imag = matmul(pack(a, xp=xp), xp.matrix_transpose(pack(rotated, xp=xp)), xp=xp)
    return Pair(real, imag)


def divide(pair: Pair, by: Array) -> Pair:
    """Return z/r for a real r."""
    return Pair(pair.real / by, pair.imag / by)


def bounded(x: Array, channels: int, *, xp: Namespace) -> Array:
    """Return tokens of so many channels, cut off where squares of residuals might overflow.

    Squared lengths stay below `largest_square`, and dot products finite, so that a residual of such
    a token is far, and that of two alike zero. A channel that is infinite becomes NaN.
    """
    excess = abs(x) / sqrt(largest_square(x, xp=xp) / channels)
    return x / xp.where(excess > 1.0, excess, 1.0)


def bounded_modes(pair: Pair, *, xp: Namespace) -> Pair:
    """Return `bounded` tokens."""
    channels = 2 * pair.real.shape[-1]
    return Pair(*(bounded(part, channels, xp=xp) for part in pair))


def largest_square(x: Array, *, xp: Namespace) -> float:
    """Return the largest squared length of tokens that are surely left as they are."""
    return float(xp.finfo(x.dtype).max) / 256.0


def length_unit(length2: Array, *, xp: Namespace) -> Array:
    """Return the unit in which to measure rows of a squared length.

    It is 1 unless the square overflows, or loses digits since it almost vanishes; a constant then
    too, so that it has no derivative.
    """
    limits = xp.finfo(length2.dtype)
    tiny, one = float(limits.smallest_normal), xp.ones_like(length2)
    unit = xp.where(length2 > tiny / float(limits.eps), one, sqrt(tiny))
    return xp.where(length2 < xp.inf, unit, float(limits.max) ** 0.75)


def direction(pair: Pair, *, xp: Namespace) -> tuple[Pair, Array]:
    """Return z/‖z‖ and ‖z‖, (..., 1), row by row, of numbers of any size; zero where z is zero."""
    unit = length_unit(norm2(pair, xp=xp), xp=xp)[..., None]
    measured = divide(pair, unit)
    length2 = norm2(measured, xp=xp)[..., None]
    length = xp.sqrt(xp.where(length2 > 0.0, length2, 1.0))
    return divide(measured, length), xp.where(length2 > 0.0, unit * length, 0.0)


def project(pair: Pair, onto: Pair, *, xp: Namespace) -> Pair:
    """Return P_∥ z = u(u†z), u = a/‖a‖, row by row; zero where a is zero."""
    along, _ = direction(onto, xp=xp)
    real = xp.sum(along.real * pair.real + along.imag * pair.imag, axis=-1, keepdims=True)
    imag = xp.sum(along.real * pair.imag - along.imag * pair.real, axis=-1, keepdims=True)
    return multiply(along, Pair(real, imag))
