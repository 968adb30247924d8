"""V and Σ of spec §2 by the library's own methods, on the subject's arrays, as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE

KERNELS = ("isotropic", "diagonal", "radial", "tangential")
"""Forms that return V and Σ; the radial–tangential form returns two of each."""


@dataclass(frozen=True)
class KernelSample:
    """Lags and parameters, arrays of one shape, element by element."""

    lag: NDArray[Any]
    decay: NDArray[Any]
    process: NDArray[Any]
    measurement: NDArray[Any]
    query: NDArray[Any]


def sample_kernel(
    seed: int, *, low: float = 1e-18, high: float = 1e3, growing: bool = False, count: int = 64
) -> KernelSample:
    """Draw numbers whose |μΔ| are spread over the magnitudes from `low` to `high`."""
    rng = np.random.default_rng(seed)
    lag = 10.0 ** rng.uniform(-3.0, 1.0, count)
    size = 10.0 ** rng.uniform(np.log10(low), np.log10(high), count)
    noise = 10.0 ** rng.uniform(-1.0, 1.0, (3, count))
    return KernelSample(lag, (-size if growing else size) / lag, *noise)


def library_covariance(kind: str, kernel: KernelSample, subject: Subject) -> NDArray[Any]:
    """Return V(Δ) by the method `covariance`."""
    sde, lag = _sde(kind, kernel, subject)
    return _read(kind, sde.covariance(lag), subject)


def library_residual_covariance(kind: str, kernel: KernelSample, subject: Subject) -> NDArray[Any]:
    """Return Σ(Δ) by the method `residual_covariance`."""
    sde, lag = _sde(kind, kernel, subject)
    return _read(kind, sde.residual_covariance(lag), subject)


def decay_factor(kernel: KernelSample) -> NDArray[Any]:
    """Return e^{−μ|Δ|}, from NumPy."""
    return np.asarray(np.exp(-kernel.decay * np.abs(kernel.lag)))


def _sde(kind: str, kernel: KernelSample, subject: Subject) -> tuple[Any, Any]:
    decay, process, measurement, query, lag = (
        subject.from_numpy(x)
        for x in (kernel.decay, kernel.process, kernel.measurement, kernel.query, kernel.lag)
    )
    noise, other = Noise(process, measurement, query), Noise(7.0, 11.0, 13.0)
    match kind:
        case "isotropic":
            return IsotropicSDE(decay, 0.5, noise), lag
        case "diagonal":
            return DiagonalSDE(decay, 0.5, noise), lag
        case "radial":
            return RadialTangentialSDE(decay, 0.5, noise, other), lag
        case _:
            return RadialTangentialSDE(decay, 0.5, other, noise), lag


def _read(kind: str, result: Any, subject: Subject) -> NDArray[Any]:
    component = getattr(result, kind) if kind in ("radial", "tangential") else result
    return np.asarray(subject.to_numpy(component))
