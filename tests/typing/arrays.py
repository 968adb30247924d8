"""Arrays of every library are arrays to the type checkers; never run, only checked."""

import jax
import numpy as np
import torch
from numpy.typing import NDArray

import afa_core as afa


def numpy(x: NDArray[np.float64]) -> None:
    sde = afa.IsotropicSDE(x, x, afa.Noise(x, 1.0, 1.0))
    afa.attention(x, x, x, sde, query_times=x, key_times=x)
    out, cache = afa.decode_step(x, x, x, sde, afa.DecodeCache.of(x, x, sde), time=x)
    afa.estimate_step(out, x, x, sde, cache, time=1.0)


def pytorch(x: torch.Tensor) -> None:
    afa.estimate(x, x, x, afa.DiagonalSDE(x, x, afa.Noise(x, x, x)), weighting=afa.StudentT(x))


def jax_numpy(x: jax.Array) -> None:
    noise = afa.Noise(x, x, x)
    afa.attention(x, x, x, afa.RadialTangentialSDE(x, x, noise, noise), anchor=x)
