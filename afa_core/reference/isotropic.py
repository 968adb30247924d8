"""Isotropic AFA, spec §4: one decay and one noise a head, so a pair costs one inner product."""

from __future__ import annotations

from afa_core._array.arrays import Namespace, append_axes, positive_part
from afa_core._array.pairs import angle, norm2, pack, rotate, unpack
from afa_core._array.products import matmul
from afa_core._checks.problem import Problem
from afa_core.model.covariance import decay_factor, residual_covariance
from afa_core.model.weighting import broadcast_weighting
from afa_core.reference.prior import pair_noise, prior_weights
from afa_core.reference.result import Materialised
from afa_core.reference.softmax import weighted_sum


def isotropic(problem: Problem, *, xp: Namespace) -> Materialised:
    """Return estimate, precision (..., n) and weights (..., n, m) by equation (4.1)."""
    sde = problem.sde
    visible = problem.visible(xp=xp)
    lag = problem.narrow(problem.lag(visible, xp=xp), xp=xp)  # (..., n, m)
    decay = append_axes(sde.decay, 2)
    decayed = decay_factor(lag, decay, xp=xp)
    noise = pair_noise(sde.noise, problem.query_variance)
    covariance = residual_covariance(lag, decay, *noise, xp=xp)

    q = rotate(problem.query(xp=xp), -angle(sde.frequency, problem.query_times), xp=xp)
    k = rotate(problem.key(xp=xp), -angle(sde.frequency, problem.key_times), xp=xp)
    v = rotate(problem.value, -angle(sde.value_frequency, problem.key_times), xp=xp)

    product = matmul(pack(q, xp=xp), xp.matrix_transpose(pack(k, xp=xp)), xp=xp)  # Re(q̃†k̃)
    q2, k2 = norm2(q, xp=xp)[..., :, None], norm2(k, xp=xp)[..., None, :]
    residual2 = positive_part(q2 + decayed**2 * k2 - 2.0 * decayed * product, xp=xp)  # ρ

    log_weight = broadcast_weighting(problem.weighting, 2).log_weight(
        residual2 / covariance, problem.modes
    )
    prior = prior_weights(problem, sde.noise, covariance, visible, xp=xp)
    logits = prior.logits(log_weight, xp=xp)  # L
    weights = prior.coefficients(logits, append_axes(problem.inverse_temperature, 2), xp=xp)

    summed = unpack(weighted_sum(weights * decayed, pack(v, xp=xp), visible, xp=xp))
    mean = rotate(summed, angle(sde.value_frequency, problem.query_times), xp=xp)
    return Materialised(mean, prior.precision(logits, xp=xp), weights)
