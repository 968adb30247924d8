"""Equation (3.1) for a dense system: full matrices A, Q, R, Γ and no eigenbasis at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afa_conformance.oracles.covariances import van_loan


class DenseSystem(NamedTuple):
    """dx = A x dt + dw with E dw dw† = Q dt; keys err by R, queries by Γ."""

    state_matrix: NDArray[Any]
    process: NDArray[Any]
    measurement: NDArray[Any]
    query: NDArray[Any]


def dense_estimate(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    times: NDArray[Any],
    system: DenseSystem,
    weight: Callable[[float], float],
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Return causal estimates (n, d) and information matrices Σ_j w_ij Σ_ij⁻¹, solved directly."""
    means, informations = [], []
    for i in range(len(query)):
        total: Any = 0.0
        numerator: Any = 0.0
        for j in range(i + 1):
            carry, spread = van_loan(system.state_matrix, system.process, times[i] - times[j])
            covariance = spread + carry @ system.measurement @ carry.conj().T + system.query
            gap = query[i] - carry @ key[j]
            distance = float((gap.conj() @ np.linalg.solve(covariance, gap)).real)
            information = weight(distance) * np.linalg.inv(covariance)
            total = total + information
            numerator = numerator + information @ carry @ value[j]
        means.append(np.linalg.solve(total, numerator))
        informations.append(np.asarray(total))
    return np.stack(means), informations
