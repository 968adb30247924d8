"""The arrays that are attended to: drawn by NumPy, then sent to a library."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

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
    upstream: Any  # (batch, heads, n, 2d)
    sde: SDE
    weighting: Weighting


def draw(setting: Setting, queries: int | None = None) -> Inputs:
    """Draw tokens from a normal distribution; decays and frequencies are geometric series.

    Parameters
    ----------
    setting : Setting
    queries : int or None
        The last so many tokens ask; None for all.

    Returns
    -------
    Inputs
        NumPy arrays; bfloat16 is drawn in float32, since NumPy has no such dtype.
    """
    np = import_module("numpy")
    dtype = "float32" if setting.dtype == "bfloat16" else setting.dtype
    rng = np.random.default_rng(SEED)

    def normal(tokens: int) -> Any:
        shape = (setting.batch, setting.heads, tokens, 2 * setting.modes)
        return rng.standard_normal(shape, dtype=dtype)

    asking = setting.tokens if queries is None else queries
    query, key, value = normal(asking), normal(setting.tokens), normal(setting.tokens)
    return Inputs(query, key, value, normal(asking), _sde(setting, dtype), _weighting(setting))


def send(inputs: Inputs, setting: Setting, backend: Backend, dtype: str = "") -> Inputs:
    """Return the inputs as arrays of the library on the device of the setting.

    `dtype` replaces that of the setting. Parameters of bfloat16 tokens stay in float32.
    """
    dtype = dtype or setting.dtype
    wide = "float32" if dtype == "bfloat16" else dtype

    def put(x: Any) -> Any:
        return backend.from_numpy(x.astype(wide), setting.device or None)

    def put_token(x: Any) -> Any:
        array = put(x)
        xp: Any = namespace(array=array)
        return array if wide == dtype else xp.astype(array, getattr(xp, dtype))

    query, key, value, upstream = map(put_token, inputs[:4])
    sde = rebuild(inputs.sde, map(put, parameters_of(inputs.sde).values()))
    return Inputs(query, key, value, upstream, sde, inputs.weighting)


def rebuild(x: Any, arrays: Iterator[Any]) -> Any:
    """Return a model with other parameters, in the order of `parameters_of`."""
    if isinstance(x, tuple):
        return type(x)(*(rebuild(part, arrays) for part in x))
    return None if x is None else next(arrays)


def _sde(setting: Setting, dtype: str) -> SDE:
    np = import_module("numpy")
    diagonal = setting.form == "diagonal"
    count = setting.modes if diagonal else setting.heads
    shape = (setting.heads, setting.modes) if diagonal else (setting.heads,)
    decay = np.broadcast_to(np.geomspace(*setting.decay, count), shape).astype(dtype)
    frequency = np.geomspace(1.0, 1e-4, setting.modes).astype(dtype)

    def noise(process: float) -> Noise:
        return Noise(*(np.full(shape, each, dtype) for each in (process, 1.0, 1.0)))

    if setting.form == "isotropic":
        return IsotropicSDE(decay, frequency, noise(0.1))
    if diagonal:
        return DiagonalSDE(decay, frequency, noise(0.1))
    return RadialTangentialSDE(decay, frequency, noise(0.05), noise(0.2))


def _weighting(setting: Setting) -> Weighting:
    return WEIGHTINGS[setting.weighting]
