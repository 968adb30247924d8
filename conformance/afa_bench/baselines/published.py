"""The published algorithm as a rival: materialised, operation by operation.

Isotropic attention as the paper and its code compute it: complex products as products of real
parts, every step an array (..., n, m) of its own, which nothing fuses but a compiler where the
library's users compile (JAX). The covariance switches to σ²Δ at a fixed decay. What its authors
compute beside the estimate, for plots and gates, is left out, and so are their changes of layout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from afa_bench.candidates import Call, Rival, Task
from afa_bench.inputs import rebuild
from afa_bench.setting import Setting
from afa_core._array.arrays import append_axes, device_of, namespace
from afa_core._array.pairs import Pair, angle, norm2, pack, rotate, split, unpack
from afa_core.model.sde import IsotropicSDE, parameters_of
from afa_core.model.weighting import Weighting, broadcast_weighting

SMALL = 1e-5  # decays below it count as zero

Softmax = Callable[[Any], Any]


def softmax(logits: Any) -> Any:
    """Return the softmax over the last axis, for libraries without one of their own."""
    xp: Any = namespace(logits=logits)
    weight = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return weight / xp.sum(weight, axis=-1, keepdims=True)


def published(
    query: Any,
    key: Any,
    value: Any,
    sde: IsotropicSDE,
    weighting: Weighting,
    *,
    softmax: Softmax = softmax,
    folded: bool = False,
) -> Any:
    """Return causal isotropic attention, (..., n, 2d), by the published algorithm.

    Parameters
    ----------
    query, key, value : array, shape (..., n, 2d)
        Real pairs, interleaved.
    sde : IsotropicSDE
        With arrays (...) and (d).
    weighting : Weighting
    softmax : callable
        The library's own, over the last axis.
    folded : bool
        Real and imaginary parts beside each other in one product, as the later code has it,
        instead of the four real products of a complex one.
    """
    xp: Any = namespace(query=query)
    tokens, modes = query.shape[-2], query.shape[-1] // 2
    times = xp.arange(tokens, dtype=query.dtype, device=device_of(query))
    lag = times[:, None] - times[None, :]  # (n, m)
    causal = lag >= 0.0
    decay, *noise = (append_axes(x, 2) for x in (sde.decay, *sde.noise))

    exponent = -decay * xp.abs(lag)
    decayed = xp.exp(exponent)
    covariance = _covariance(lag, exponent, decay, *noise, xp=xp)

    turn = angle(sde.frequency, times)
    q, k, v = (split(x, "interleaved", xp=xp) for x in (query, key, value))
    q, k, v = (rotate(x, -turn, xp=xp) for x in (q, k, v))
    product = _inner(q, k, folded=folded, xp=xp)
    first = norm2(q, xp=xp)[..., :, None]
    second = decayed**2 * norm2(k, xp=xp)[..., None, :]
    third = 2.0 * decayed * product
    residual2 = first + second - third

    log_weight = broadcast_weighting(weighting, 2).log_weight(residual2 / covariance, modes)
    logits = xp.where(causal, -xp.log(covariance) + log_weight, -xp.inf)
    carried = softmax(logits) * decayed
    mean = rotate(_combine(carried, v, folded=folded, xp=xp), turn, xp=xp)
    return xp.reshape(xp.stack([mean.real, mean.imag], axis=-1), query.shape)


def _covariance(
    lag: Any, exponent: Any, decay: Any, process: Any, measurement: Any, query: Any, *, xp: Any
) -> Any:
    """Return σ²(1 − e^{−2μΔ})/(2μ) + η²E² + γ², with σ²Δ for the first term at small μ."""
    small = xp.abs(decay) < SMALL
    direct = -xp.expm1(2.0 * exponent) / xp.where(small, 1.0, 2.0 * decay)
    propagated = process * xp.where(small, xp.abs(lag), direct)
    return propagated + measurement * xp.exp(2.0 * exponent) + query


def _inner(q: Pair, k: Pair, *, folded: bool, xp: Any) -> Any:
    """Return Re(q†k) of every pair, (..., n, m)."""
    if folded:
        return xp.matmul(pack(q, xp=xp), xp.matrix_transpose(pack(k, xp=xp)))
    product = _matmul(Pair(q.real, -q.imag), Pair(*map(xp.matrix_transpose, k)), xp=xp)
    return product.real


def _combine(carried: Any, v: Pair, *, folded: bool, xp: Any) -> Pair:
    """Return the sums of carried values, the weights taken as complex numbers."""
    if folded:
        return unpack(xp.matmul(carried, pack(v, xp=xp)))
    return _matmul(Pair(carried, xp.zeros_like(carried)), v, xp=xp)


def _matmul(a: Pair, b: Pair, *, xp: Any) -> Pair:
    """Return a complex matrix product as four real ones."""
    real = xp.matmul(a.real, b.real) - xp.matmul(a.imag, b.imag)
    imag = xp.matmul(a.real, b.imag) + xp.matmul(a.imag, b.real)
    return Pair(real, imag)


def rivals(softmax: Softmax = softmax) -> tuple[Rival, ...]:
    """Return the rivals "published" and "published-folded" with a library's own softmax."""
    return tuple(
        Rival(name, title, _refusal, partial(_prepare, softmax=softmax, folded=folded), not folded)
        for name, title, folded in (
            ("published", "published algorithm, complex products as four real", False),
            ("published-folded", "published algorithm, one real product each", True),
        )
    )


def _refusal(setting: Setting) -> str:
    if setting.case != "attention":
        return "re-created for attention over a sequence only"
    return "" if setting.form == "isotropic" else "re-created for the isotropic form only"


def _prepare(task: Task, *, softmax: Softmax, folded: bool) -> Call:
    inputs = task.inputs

    def run(query: Any, key: Any, value: Any, *parameters: Any) -> Any:
        sde = rebuild(inputs.sde, iter(parameters))
        return published(query, key, value, sde, inputs.weighting, softmax=softmax, folded=folded)

    return task.call(run, (*inputs[:3], *parameters_of(inputs.sde).values()))
