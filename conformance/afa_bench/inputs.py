"""The inputs of a measurement: drawn with NumPy, then transferred to a library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from afa_bench.setting import GAINS, WEIGHTINGS, Setting
from afa_core._array.arrays import namespace
from afa_core.backend import Backend
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    IsotropicSDE,
    Noise,
    RadialTangentialSDE,
    parameters_of,
)
from afa_core.model.weighting import Weighting

SEED = 20250904


class Inputs(NamedTuple):
    """Arguments of attention, and the cotangent of its output."""

    query: Any  # (batch, heads, n, 2d)
    key: Any  # (batch, heads, tokens, 2d)
    value: Any  # (batch, heads, tokens, 2d)
    cotangent: Any  # (batch, heads, n, 2d)
    sde: SDE
    weighting: Weighting
    query_times: Any = None  # (batch, 1, n), None for regular times
    key_times: Any = None  # (batch, 1, tokens)

    @property
    def times(self) -> dict[str, Any]:
        """The times as arguments of attention."""
        return {"query_times": self.query_times, "key_times": self.key_times}


def draw(setting: Setting, queries: int | None = None) -> Inputs:
    """Draw tokens from a normal distribution; decays and frequencies are geometric series.

    Parameters
    ----------
    setting : Setting
    queries : int or None
        Number of queries, which are the last tokens; None for all tokens.

    Returns
    -------
    Inputs
        NumPy arrays, of float32 for bfloat16, which NumPy does not have.
    """
    dtype = "float32" if setting.dtype == "bfloat16" else setting.dtype
    rng = np.random.default_rng(SEED)

    def normal(tokens: int) -> Any:
        shape = (setting.batch, setting.heads, tokens, 2 * setting.modes)
        return rng.standard_normal(shape, dtype=np.dtype(dtype).type)

    count = setting.tokens if queries is None else queries
    query, key, value = normal(count), normal(setting.tokens), normal(setting.tokens)
    sde, weighting = _sde(setting, dtype), WEIGHTINGS[setting.weighting]
    inputs = Inputs(query, key, value, normal(count), sde, weighting)
    if not setting.irregular:
        return inputs
    gaps = rng.exponential(size=(setting.batch, 1, setting.tokens))
    times = np.cumsum(gaps, axis=-1).astype(dtype)
    return inputs._replace(query_times=times[..., -count:], key_times=times)


def transfer(inputs: Inputs, setting: Setting, backend: Backend, dtype: str = "") -> Inputs:
    """Return the inputs as arrays of the library on the device of the setting.

    `dtype` replaces that of the setting. With bfloat16 tokens the parameters are float32.
    """
    dtype = dtype or setting.dtype
    wide = "float32" if dtype == "bfloat16" else dtype

    def parameter(x: Any) -> Any:
        return backend.from_numpy(x.astype(wide), setting.device or None)

    def token(x: Any) -> Any:
        array = parameter(x)
        xp: Any = namespace(array=array)
        return array if wide == dtype else xp.astype(array, getattr(xp, dtype))

    sde = with_parameters(inputs.sde, map(parameter, parameters_of(inputs.sde).values()))
    query, key, value, cotangent = map(token, inputs[:4])
    times = (x if x is None else parameter(x) for x in inputs.times.values())
    return Inputs(query, key, value, cotangent, sde, inputs.weighting, *times)


def with_parameters(sde: Any, arrays: Iterator[Any]) -> Any:
    """Return a model with other parameters, in the order of `parameters_of`."""
    if isinstance(sde, tuple):
        return type(sde)(*(with_parameters(field, arrays) for field in sde))
    return None if sde is None else next(arrays)


def _sde(setting: Setting, dtype: str) -> SDE:
    diagonal = setting.form == "diagonal"
    count = setting.modes if diagonal else setting.heads
    shape = (setting.heads, setting.modes) if diagonal else (setting.heads,)
    decay: Any = np.broadcast_to(np.geomspace(*setting.decay, count), shape).astype(dtype)
    frequency: Any = np.geomspace(1.0, 1e-4, setting.modes).astype(dtype)

    def noise(process: float) -> Noise:
        found: Any = _process_of_gains(setting, decay) if setting.correlated else process
        arrays: Any = (np.full(shape, each, dtype) for each in (found, 1.0, 1.0))
        return Noise(*arrays)

    if setting.form == "isotropic":
        return IsotropicSDE(decay, frequency, noise(0.1))
    if diagonal:
        return DiagonalSDE(decay, frequency, noise(0.1))
    return RadialTangentialSDE(decay, frequency, noise(0.05), noise(0.2))


def _process_of_gains(setting: Setting, decay: Any) -> Any:
    """Return σ² of the gains K in the steady state at η² = 1 and times one apart.

    σ²(1 − E²)/(2μ) = K (1/(1 − K) − E²), with E = e^{−μ}.
    """
    gain = np.geomspace(*GAINS, setting.heads).reshape(-1, *[1] * (decay.ndim - 1))
    lost = -np.expm1(-2.0 * decay)  # 1 − E²
    return gain * (gain / (1.0 - gain) + lost) * 2.0 * decay / lost
