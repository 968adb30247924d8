"""The inputs of a measurement: drawn with NumPy, then transferred to a library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from afa_bench.setting import WEIGHTINGS, Setting
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
    weighting = WEIGHTINGS[setting.weighting]
    return Inputs(query, key, value, normal(count), _sde(setting, dtype), weighting)


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

    query, key, value, cotangent = map(token, inputs[:4])
    sde = with_parameters(inputs.sde, map(parameter, parameters_of(inputs.sde).values()))
    return Inputs(query, key, value, cotangent, sde, inputs.weighting)


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
        arrays: Any = (np.full(shape, each, dtype) for each in (process, 1.0, 1.0))
        return Noise(*arrays)

    if setting.form == "isotropic":
        return IsotropicSDE(decay, frequency, noise(0.1))
    if diagonal:
        return DiagonalSDE(decay, frequency, noise(0.1))
    return RadialTangentialSDE(decay, frequency, noise(0.05), noise(0.2))
