"""V and Σ of spec §2 in 50 digits, in double precision, by quadrature, by a matrix exponential."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp
from numpy.typing import NDArray
from scipy import linalg

DIGITS = 50


def propagated(lag: Any, decay: Any, process: Any) -> Any:
    """Return V(|Δ|) in mpmath: σ²(1 − e^{−2μ|Δ|})/2μ, or σ²|Δ| at μ = 0."""
    span = abs(mp.mpf(lag))
    if decay == 0:
        return mp.mpf(process) * span
    rate = 2 * mp.mpf(decay)
    return mp.mpf(process) * -mp.expm1(-rate * span) / rate


def residual(lag: Any, decay: Any, noise: Any) -> Any:
    """Return Σ(Δ) = V + η² e^{−2μ|Δ|} + γ² in mpmath."""
    process, measurement, query = noise
    decay_factor2 = mp.exp(-2 * mp.mpf(decay) * abs(mp.mpf(lag)))
    return propagated(lag, decay, process) + mp.mpf(measurement) * decay_factor2 + mp.mpf(query)


def residual_covariance(lag: Any, decay: Any, noise: Any) -> NDArray[Any]:
    """Return Σ(Δ) in double precision, arrays broadcasting, any decay ≥ 0."""
    process, measurement, query = (np.asarray(x, dtype=float) for x in noise)
    span, rate = np.abs(lag), 2.0 * np.asarray(decay, dtype=float)
    small = rate * span < 1e-8
    safe = np.where(small, 1.0, rate)
    variance = np.where(small, span * (1.0 - rate * span / 2.0), -np.expm1(-rate * span) / safe)
    return np.asarray(process * variance + measurement * np.exp(-rate * span) + query)


def quadrature(lag: float, decay: float, process: float) -> float:
    """Return V(Δ) = ∫₀^Δ e^{−2μs} σ² ds by tanh–sinh quadrature in 20 digits."""
    with mp.workdps(20):
        return float(mp.quad(lambda s: process * mp.exp(-2 * decay * s), [0, lag]))


def van_loan(
    state_matrix: NDArray[Any], process: NDArray[Any], lag: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return e^{AΔ} and ∫₀^Δ e^{As} Q e^{A†s} ds from one matrix exponential (Van Loan, 1978)."""
    d = state_matrix.shape[0]
    zero = np.zeros((d, d))
    # a large corner would cost `expm` its digits
    size = float(np.linalg.norm(process)) or 1.0
    block = np.block([[-state_matrix, process / size], [zero, state_matrix.conj().T]]) * lag
    exponential = linalg.expm(block)
    transition = exponential[d:, d:].conj().T
    return transition, size * (transition @ exponential[:d, d:])
