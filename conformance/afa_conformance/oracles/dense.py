"""Equation (3.1) for a dense system: full matrices A, Q, R, Γ, without an eigenbasis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afa_conformance.oracles.covariances import van_loan


class DenseSystem(NamedTuple):
    """dx = A x dt + dw with E dw dw† = Q dt; errors of keys have covariance R, of queries Γ."""

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
            lag = times[i] - times[j]
            transition, variance = van_loan(system.state_matrix, system.process, lag)
            propagated = transition @ system.measurement @ transition.conj().T
            covariance = variance + propagated + system.query
            residual = query[i] - transition @ key[j]
            distance = float((residual.conj() @ np.linalg.solve(covariance, residual)).real)
            information = weight(distance) * np.linalg.inv(covariance)
            total = total + information
            numerator = numerator + information @ transition @ value[j]
        means.append(np.linalg.solve(total, numerator))
        informations.append(np.asarray(total))
    return np.stack(means), informations
