"""Radial–tangential AFA, spec §6: a covariance diagonal plus rank one, inverted in closed form."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, append_axes
from afa_core._array.pairs import (
    Pair,
    add,
    angle,
    direction,
    inner,
    norm2,
    pack,
    project,
    rotate,
    square,
    subtract,
    unpack,
)
from afa_core._checks.problem import Problem
from afa_core.model.covariance import decay_factor, residual_covariance
from afa_core.model.sde import Noise, RadialTangential
from afa_core.model.weighting import broadcast_weighting
from afa_core.reference.prior import pair_noise, prior_weights
from afa_core.reference.result import Materialised
from afa_core.reference.softmax import weighted_sum


def radial_tangential(problem: Problem, *, xp: Namespace) -> Materialised:
    """Return estimate, and radial and tangential precision and weights, by equation (6.2)."""
    sde = problem.sde
    assert problem.anchor is not None
    visible = problem.visible(xp=xp)
    lag = problem.narrow(problem.lag(visible, xp=xp), xp=xp)  # (..., n, m)
    decay = append_axes(sde.decay, 2)
    decayed = decay_factor(lag, decay, xp=xp)

    def variance(noise: Noise, query_variance: Array | None) -> Array:  # v_r, v_t of (6.1)
        return residual_covariance(lag, decay, *pair_noise(noise, query_variance), xp=xp)

    noises = RadialTangential(sde.radial_noise, sde.tangential_noise)
    query_variance = problem.query_variance or RadialTangential(None, None)
    variances = RadialTangential(*map(variance, noises, query_variance))

    q = rotate(problem.query(xp=xp), -angle(sde.frequency, problem.query_times), xp=xp)
    k = rotate(problem.key(xp=xp), -angle(sde.frequency, problem.key_times), xp=xp)
    v = rotate(problem.value, -angle(sde.value_frequency, problem.key_times), xp=xp)

    residual2 = _residual2(q, k, decayed, xp=xp)
    distance = residual2.radial / variances.radial + residual2.tangential / variances.tangential
    log_weight = broadcast_weighting(problem.weighting, 2).log_weight(distance, problem.modes)
    angles = angle(sde.value_frequency, problem.query_times)

    def component(noise: Noise, variance: Array) -> Materialised:
        prior = prior_weights(problem, noise, variance, visible, xp=xp)
        beta = append_axes(problem.inverse_temperature, 2)
        logits = prior.logits(log_weight, xp=xp)
        weights = prior.coefficients(logits, beta, xp=xp)
        summed = unpack(weighted_sum(weights * decayed, pack(v, xp=xp), visible, xp=xp))
        mean = rotate(summed, angles, xp=xp)
        return Materialised(mean, prior.precision(logits, xp=xp), weights)

    radial, tangential = map(component, noises, variances)
    mean = add(
        subtract(tangential.mean, project(tangential.mean, problem.anchor, xp=xp)),
        project(radial.mean, problem.anchor, xp=xp),
    )
    return Materialised(
        mean,
        RadialTangential(radial.precision, tangential.precision),
        RadialTangential(radial.weights, tangential.weights),
    )


def _residual2(q: Pair, k: Pair, decayed: Array, *, xp: Namespace) -> RadialTangential:
    """Return |u†r|² and ‖r_⊥‖² with u = q/‖q‖; all is tangential where q = 0."""
    along, length = direction(q, xp=xp)  # u, and ‖q‖ in a column
    product = inner(along, k, xp=xp)  # u†k̃, (..., n, m)
    k2, along2 = norm2(k, xp=xp)[..., None, :], square(product)
    radial = square(Pair(length - decayed * product.real, decayed * product.imag))
    # not by `where`: its condition, compiled twice, may differ between the terms of the derivative
    across = xp.maximum(k2 - along2, xp.zeros_like(along2))
    return RadialTangential(radial, decayed**2 * across)
