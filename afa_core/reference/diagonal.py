"""Diagonal AFA, spec §5: every mode its own decay and noise, one robust weight for all."""

from __future__ import annotations

from afa_core._array.arrays import Namespace, append_axes, insert_axes
from afa_core._array.pairs import Pair, rotate, scale, square, subtract
from afa_core._checks.problem import Problem
from afa_core.model.covariance import decay_factor, residual_covariance
from afa_core.model.weighting import broadcast_weighting
from afa_core.reference.prior import pair_noise, prior_weights
from afa_core.reference.result import Materialised


def diagonal(problem: Problem, *, xp: Namespace) -> Materialised:
    """Return estimate, precision (..., n, d) and weights (..., n, m, d) by equation (5.1)."""
    sde = problem.sde
    visible = problem.visible(xp=xp)
    lag = problem.lag(visible, xp=xp)[..., None]  # (..., n, m, 1)
    decay, narrow_lag = insert_axes(sde.decay, 2), problem.narrow(lag, xp=xp)
    decayed = decay_factor(narrow_lag, decay, xp=xp)
    noise = pair_noise(sde.noise, problem.query_variance, per_mode=True)
    covariance = residual_covariance(narrow_lag, decay, *noise, xp=xp)
    covariance = xp.broadcast_to(covariance, (*covariance.shape[:-1], problem.modes))
    visible = None if visible is None else visible[..., None]

    angles = insert_axes(sde.frequency, 2) * lag
    q = Pair(*(part[..., :, None, :] for part in problem.query(xp=xp)))  # (..., n, 1, d)
    k = Pair(*(part[..., None, :, :] for part in problem.key(xp=xp)))  # (..., 1, m, d)
    v = Pair(*(part[..., None, :, :] for part in problem.value))
    residual = subtract(q, scale(decayed, rotate(k, angles, xp=xp)))  # (..., n, m, d)
    distance = xp.sum(square(residual) / covariance, axis=-1)  # m, (..., n, m)

    log_weight = broadcast_weighting(problem.weighting, 2).log_weight(distance, problem.modes)
    prior = prior_weights(problem, sde.noise, covariance, visible, xp=xp)
    logits = prior.logits(log_weight[..., None], xp=xp)
    weights = prior.coefficients(logits, append_axes(problem.inverse_temperature, 3), xp=xp)

    carried = scale(weights * decayed, rotate(v, angles, xp=xp))
    if visible is not None:
        carried = Pair(*(xp.where(visible, part, 0.0) for part in carried))
    mean = Pair(*(xp.sum(part, axis=-2) for part in carried))
    return Materialised(mean, prior.precision(logits, xp=xp), weights)
