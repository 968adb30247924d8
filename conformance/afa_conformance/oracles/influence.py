"""The weights of correlated keys from dense covariances, in many digits (spec §14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mpmath import mp

from afa_conformance.oracles.covariances import propagated

DIGITS = 200  # beside those that variances lose over the lags
LEAST_NOISE = mp.mpf("1e-60")
"""Stands for η² = 0, relative to the variance that the state gains between two keys."""


class ScalarModel(NamedTuple):
    """The dynamics of one mode and the noise of its keys."""

    decay: Any
    process: Any
    measurement: Any


class ExactInfluence(NamedTuple):
    """The weights a_j of the carried keys, the variance of the estimate, and 1 − Σ_j a_j."""

    weights: list[Any]
    variance: Any
    missing: Any


def influence(
    time: Any, keys: Sequence[Any], model: ScalarModel, *, causal: bool
) -> ExactInfluence:
    """Return the weights of keys at these times, one or more, in the estimate at a time.

    Causal keys come before it, and the prior is diffuse. Otherwise it is that of the stationary
    process, diffuse where there is no decay.
    """
    with mp.workdps(DIGITS):
        lags = [time - key for key in keys]
        lost = 2 * model.decay * max(map(abs, lags)) / mp.log(10)
    with mp.workdps(DIGITS + int(lost)):
        growth = _growth(keys, model)
        least = model._replace(measurement=model.measurement or LEAST_NOISE * growth)
        exact = (_least_squares if causal or not model.decay else _conditional)(lags, least)
        if model.measurement:
            return exact
        negligible = mp.sqrt(LEAST_NOISE)
        weights = [each if abs(each) > negligible else mp.mpf(0) for each in exact.weights]
        variance = exact.variance if exact.variance > negligible * growth else mp.mpf(0)
        missing = exact.missing if abs(exact.missing) > negligible else mp.mpf(0)
        return ExactInfluence(weights, variance, missing)


def _growth(keys: Sequence[Any], model: ScalarModel) -> Any:
    """Return V over the shortest time between keys that are not at one time."""
    gaps = [abs(one - other) for one in keys for other in keys if one != other]
    return propagated(min(gaps, default=mp.mpf(1)), model.decay, model.process) or mp.mpf(1)


def _least_squares(lags: list[Any], model: ScalarModel) -> ExactInfluence:
    """Return C⁻¹1/1ᵀC⁻¹1, C the covariance of the errors of the carried keys.

    Those of keys on one side share the process noise since, or until, the nearer of the two.
    """
    size = len(lags)
    covariance = mp.zeros(size)
    for j, one in enumerate(lags):
        for k, other in enumerate(lags):
            if one * other >= 0:
                nearer = min(abs(one), abs(other))
                covariance[j, k] = propagated(nearer, model.decay, model.process)
        covariance[j, j] += model.measurement * mp.exp(-2 * model.decay * abs(one))
    solved = mp.lu_solve(covariance, mp.ones(size, 1))
    total = mp.fsum(solved)
    return ExactInfluence([each / total for each in solved], 1 / total, mp.mpf(0))


def _conditional(lags: list[Any], model: ScalarModel) -> ExactInfluence:
    """Return the conditional mean of a stationary process, whose covariance is E σ²/2μ."""
    size, stationary = len(lags), model.process / (2 * model.decay)

    def shared(lag: Any) -> Any:
        return stationary * mp.exp(-model.decay * abs(lag))

    covariance = mp.zeros(size)
    for j, one in enumerate(lags):
        for k, other in enumerate(lags):
            covariance[j, k] = shared(one - other)
        covariance[j, j] += model.measurement
    with_state = mp.matrix([shared(lag) for lag in lags])
    solved = mp.lu_solve(covariance, with_state)
    weights = [w * mp.exp(model.decay * abs(lag)) for w, lag in zip(solved, lags, strict=True)]
    explained = mp.fsum(w * c for w, c in zip(solved, with_state, strict=True))
    return ExactInfluence(weights, stationary - explained, 1 - mp.fsum(weights))
