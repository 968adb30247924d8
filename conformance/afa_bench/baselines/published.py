"""The published algorithm as a baseline: isotropic attention with materialised intermediates.

Complex products are computed as products of real parts, and every step returns an array
(..., n, m), as in the paper and its code; only a compiler fuses them (JAX). The covariance
switches to σ²Δ at a fixed decay. The quantities that the authors compute for plots and gates, and
their changes of layout, are omitted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from afa_bench.candidates import Baseline, Call, Task, usual_keys
from afa_bench.inputs import with_parameters
from afa_bench.setting import Setting
from afa_core._array.arrays import append_axes, device_of, namespace
from afa_core._array.pairs import Pair, angle, norm2, pack, rotate, split, unpack
from afa_core.model.sde import IsotropicSDE, parameters_of
from afa_core.model.weighting import Weighting, broadcast_weighting

SMALL_DECAY = 1e-5  # 1/time; smaller decays are treated as zero

Softmax = Callable[[Any], Any]


def softmax(logits: Any) -> Any:
    """Return the softmax over the last axis, for libraries that do not provide it."""
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
        The softmax over the last axis.
    folded : bool
        Compute a complex product as one real product of concatenated real and imaginary parts,
        as in later versions of the code, instead of four real products.
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

    phase = angle(sde.frequency, times)
    q, k, v = (split(x, "interleaved", xp=xp) for x in (query, key, value))
    q, k, v = (rotate(x, -phase, xp=xp) for x in (q, k, v))
    product = _inner(q, k, folded=folded, xp=xp)
    first = norm2(q, xp=xp)[..., :, None]
    second = decayed**2 * norm2(k, xp=xp)[..., None, :]
    third = 2.0 * decayed * product
    residual2 = first + second - third

    log_weight = broadcast_weighting(weighting, 2).log_weight(residual2 / covariance, modes)
    logits = xp.where(causal, -xp.log(covariance) + log_weight, -xp.inf)
    weight = softmax(logits) * decayed
    mean = rotate(_combine(weight, v, folded=folded, xp=xp), phase, xp=xp)
    return xp.reshape(xp.stack([mean.real, mean.imag], axis=-1), query.shape)


def _covariance(
    lag: Any, exponent: Any, decay: Any, process: Any, measurement: Any, query: Any, *, xp: Any
) -> Any:
    """Return σ²(1 − e^{−2μΔ})/(2μ) + η²E² + γ², with σ²Δ for the first term at small μ."""
    small = xp.abs(decay) < SMALL_DECAY
    direct = -xp.expm1(2.0 * exponent) / xp.where(small, 1.0, 2.0 * decay)
    propagated = process * xp.where(small, xp.abs(lag), direct)
    return propagated + measurement * xp.exp(2.0 * exponent) + query


def _inner(q: Pair, k: Pair, *, folded: bool, xp: Any) -> Any:
    """Return Re(q†k) for each pair of query and key, (..., n, m)."""
    if folded:
        return xp.matmul(pack(q, xp=xp), xp.matrix_transpose(pack(k, xp=xp)))
    product = _matmul(Pair(q.real, -q.imag), Pair(*map(xp.matrix_transpose, k)), xp=xp)
    return product.real


def _combine(weight: Any, v: Pair, *, folded: bool, xp: Any) -> Pair:
    """Return Σ_j w_ij v_j; unless `folded`, with the weights as complex numbers."""
    if folded:
        return unpack(xp.matmul(weight, pack(v, xp=xp)))
    return _matmul(Pair(weight, xp.zeros_like(weight)), v, xp=xp)


def _matmul(a: Pair, b: Pair, *, xp: Any) -> Pair:
    """Return a complex matrix product as four real ones."""
    real = xp.matmul(a.real, b.real) - xp.matmul(a.imag, b.imag)
    imag = xp.matmul(a.real, b.imag) + xp.matmul(a.imag, b.real)
    return Pair(real, imag)


def baselines(softmax: Softmax = softmax) -> tuple[Baseline, ...]:
    """Return the baselines "published" and "published-folded", with the softmax of a library."""

    def baseline(name: str, title: str, *, folded: bool) -> Baseline:
        prepare = partial(_prepare, softmax=softmax, folded=folded)
        return Baseline(name, title, _unsupported, prepare, default=not folded)

    return (
        baseline("published", "published algorithm, complex products as four real", folded=False),
        baseline("published-folded", "published algorithm, one real product each", folded=True),
    )


def _unsupported(setting: Setting) -> str:
    if setting.case != "attention":
        return "re-created for attention over a sequence only"
    if setting.form != "isotropic":
        return "re-created for the isotropic form only"
    return usual_keys(setting)


def _prepare(task: Task, *, softmax: Softmax, folded: bool) -> Call:
    inputs = task.inputs

    def run(query: Any, key: Any, value: Any, *parameters: Any) -> Any:
        sde = with_parameters(inputs.sde, iter(parameters))
        return published(query, key, value, sde, inputs.weighting, softmax=softmax, folded=folded)

    return task.call(run, (*inputs[:3], *parameters_of(inputs.sde).values()))
