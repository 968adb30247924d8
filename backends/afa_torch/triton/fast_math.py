"""Reciprocals, logarithms and powers of pairs, by the instructions that GPUs have for them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def reciprocal(x, flags: tl.constexpr):
    """Return 1/x to the last place but one; 0 of what has no reciprocal that is normal."""
    if flags.interpreted:
        found = 1.0 / x
    else:
        found = tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    return found


@triton.jit
def fast_log(x, flags: tl.constexpr):
    """Return log x up to 1.3e-7, and as precisely beyond 2 and below 1/2."""
    if flags.interpreted:
        found = tl.log(x)
    else:
        log2 = tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
        found = 0.6931471805599453 * log2
    return found


@triton.jit
def log1p(x, flags: tl.constexpr):
    """Return log (1 + x) for x ≥ 0."""
    y = 1.0 + x
    return fast_log(y, flags) + (x - (y - 1.0)) * reciprocal(y, flags)


@triton.jit
def power(x, exponent: tl.constexpr):
    """Return a positive integer power, by squares."""
    if exponent == 1:
        result = x
    elif exponent % 2 == 0:
        result = power(x * x, exponent // 2)
    else:
        result = x * power(x, exponent - 1)
    return result
