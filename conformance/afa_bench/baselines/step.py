"""A step of decoding in NumPy, written by hand for the isotropic form: the equations alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_bench.candidates import Baseline, Call, Task
from afa_bench.setting import Setting
from afa_core.model.weighting import Weighting


def step(
    query: Any,
    key: Any,
    value: Any,
    cached: tuple[Any, Any, Any],
    sde: Any,
    weighting: Weighting,
) -> Any:
    """Return the estimate at a new token, (..., 1, 2d), which replaces the last one cached.

    Parameters
    ----------
    query, key, value : array, shape (..., 1, 2d)
        Real pairs, interleaved.
    cached : tuple of arrays, shapes (..., m, 2d), (..., m, 2d) and (..., m)
        e^{−iωt} ⊙ k, e^{−iωt} ⊙ v and ‖k‖² at times 0 to m − 1.
    sde : IsotropicSDE
        With arrays (...) and (d).
    weighting : Weighting
    """
    keys, values, key2 = cached
    latest = keys.shape[-2] - 1
    phase = np.exp(-1j * latest * sde.frequency)
    q, keys[..., -1:, :], values[..., -1:, :] = (_rotate(x, phase) for x in (query, key, value))
    key2[..., -1:] = np.sum(key * key, axis=-1)

    decay, process, measurement, noise = (x[..., None] for x in (sde.decay, *sde.noise))
    exponent = -decay * np.arange(latest, -1, -1, dtype=key.dtype)  # (..., m)
    decayed = np.exp(exponent)
    covariance = -process * np.expm1(2.0 * exponent) / (2.0 * decay)
    covariance += measurement * decayed**2 + noise
    product = (keys @ q[..., 0, :, None])[..., 0]
    residual2 = np.sum(q * q, axis=-1) + decayed * (decayed * key2 - 2.0 * product)

    logits = weighting.log_weight(residual2 / covariance, len(phase)) - np.log(covariance)
    weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weight *= decayed / weight.sum(axis=-1, keepdims=True)
    return _rotate(weight[..., None, :] @ values, phase.conj())


def _rotate(x: Any, phase: Any) -> Any:
    """Multiply interleaved pairs (..., 2d) by complex numbers (d)."""
    pairs = np.dtype(f"complex{16 * x.itemsize}")
    return (x.view(pairs) * phase.astype(pairs)).view(x.dtype)


def _unsupported(setting: Setting) -> str:
    if setting.case != "decode" or setting.form != "isotropic":
        return "is a step of decoding in the isotropic form only"
    return ""


def _prepare(task: Task) -> Call:
    inputs = task.inputs
    frequency: Any = inputs.sde.frequency
    phase = np.exp(-1j * np.arange(inputs.key.shape[-2])[:, None] * frequency)
    key2 = np.sum(inputs.key * inputs.key, axis=-1)
    cached = _rotate(inputs.key, phase), _rotate(inputs.value, phase), key2
    key, value = (x[..., -1:, :] for x in inputs[1:3])
    return task.call(step, (inputs.query, key, value), (cached, inputs.sde, inputs.weighting))


STEP = Baseline("step", "a step of decoding written by hand", _unsupported, _prepare)
