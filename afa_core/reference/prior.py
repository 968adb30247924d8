"""The weights of keys before their residuals are looked at, of independent or correlated keys."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    device_of,
    insert_axes,
    positive_part,
)
from afa_core._checks.problem import Problem
from afa_core.model.gains import Dynamics, filter_gains
from afa_core.model.influence import (
    Direction,
    Influence,
    Timeline,
    filtered,
    log_or_lowest,
    smoothed,
)
from afa_core.model.sde import SDE, DiagonalSDE, Noise
from afa_core.reference.softmax import hide, softmax


class Prior(NamedTuple):
    """Weights a_ij, which robust weights multiply; their pairs are (..., n, m), or (..., n, m, d).

    Correlated keys have those of an estimate of variance P_i. Where keys lie on both sides of a
    query, what a row lacks of 1 is the weight of the prior's mean, which is zero; it may exceed 1.
    """

    log_weight: Array  # log a_ij
    visible: Array | None  # which pairs are, None if all
    axis: int  # of keys
    variance: Array | None = None  # P_i, (..., n) or (..., n, d)
    missing: Array | None = None  # 1 − Σ_j a_ij, alike
    factor: Array | None = None  # of the normalised weights, for dropout

    def logits(self, log_weight: Array, *, xp: Namespace) -> Array:
        """Return L = log aw from log w, −∞ for hidden pairs."""
        return hide(log_weight + self.log_weight, self.visible, xp=xp)

    def coefficients(
        self, logits: Array, inverse_temperature: Parameter, *, xp: Namespace
    ) -> Array:
        """Return what values are multiplied by: max(1, S)(aw)^β/(max(1 − S, 0)^β + Σ(aw)^β)."""
        weights = self._normalised(logits, inverse_temperature, xp=xp)
        return weights if self.factor is None else weights * self.factor

    def _normalised(self, logits: Array, inverse_temperature: Parameter, *, xp: Namespace) -> Array:
        if self.missing is None:
            return softmax(logits, inverse_temperature, axis=self.axis, xp=xp)
        missing = xp.expand_dims(self.missing, axis=self.axis)
        sink = log_or_lowest(missing, xp=xp)
        others = (slice(None),) * (-1 - self.axis)  # axes after that of keys
        sink = xp.broadcast_to(sink, logits[(..., slice(1), *others)].shape)
        logits = xp.concat([logits, sink], axis=self.axis)
        weights = softmax(logits, inverse_temperature, axis=self.axis, xp=xp)
        return (1.0 + positive_part(-missing, xp=xp)) * weights[(..., slice(-1), *others)]

    def precision(self, logits: Array, *, xp: Namespace) -> Array:
        """Return p = Σ aw, over P if keys are correlated; zero where no key is visible (§10)."""
        found = xp.sum(xp.exp(logits), axis=self.axis)
        if self.variance is None:
            return found
        if self.missing is not None:
            found = found + xp.exp(log_or_lowest(self.missing, xp=xp))
            found = found / (1.0 + positive_part(-self.missing, xp=xp))
        found = precision_over(self.variance, found, xp=xp)
        if self.visible is None:
            return found
        return xp.where(xp.any(self.visible, axis=self.axis), found, 0.0)


def precision_over(variance: Array, weight: Array, *, xp: Namespace) -> Array:
    """Return the precision s/P of summed weights s, infinite where P = 0; NaN stays.

    Weights are positive, of however distant keys, also where they underflow.
    """
    uncertain = variance > 0.0
    certain = xp.where(weight >= 0.0, xp.inf, weight)
    return xp.where(uncertain, weight / xp.where(uncertain, variance, 1.0), certain)


def pair_noise(noise: Noise, query_variance: Array | None, *, per_mode: bool = False) -> Noise:
    """Return σ², η² and γ² with the axes of pairs, γ² that of each query if that is given."""

    def shaped(x: Parameter) -> Parameter:
        return insert_axes(x, 2) if per_mode else append_axes(x, 2)

    query = shaped(noise.query)
    if query_variance is not None:  # (..., n), or (..., n, d) per mode
        query = query_variance[..., :, None, :] if per_mode else query_variance[..., :, None]
    return Noise(shaped(noise.process), shaped(noise.measurement), query)


def prior_weights(
    problem: Problem, noise: Noise, covariance: Array, visible: Array | None, *, xp: Namespace
) -> Prior:
    """Return 1/Σ_ij, or the influence of the keys if they are correlated (spec §14).

    Either is multiplied by e^B where the problem has a bias B of its logits (spec §8.4).
    """
    prior = _unbiased(problem, noise, covariance, visible, xp=xp)
    bias, factor = (
        x[..., None] if x is not None and isinstance(problem.sde, DiagonalSDE) else x
        for x in (problem.logit_bias, problem.weight_factor)
    )
    biased = prior.log_weight if bias is None else prior.log_weight + bias
    return prior._replace(log_weight=biased, factor=factor)


def _unbiased(
    problem: Problem, noise: Noise, covariance: Array, visible: Array | None, *, xp: Namespace
) -> Prior:
    per_mode = isinstance(problem.sde, DiagonalSDE)
    axis = -2 if per_mode else -1
    if not problem.correlated:
        return Prior(-xp.log(covariance), visible, axis)
    influence = influence_of(problem.timeline(xp=xp), problem.sde, noise, xp=xp)
    modes = problem.modes if per_mode else 1

    def in_form(x: Array) -> Array:
        x = problem.narrow(xp.broadcast_to(x, (*x.shape[:-1], modes)), xp=xp)
        return x if per_mode else x[..., 0]

    log_weight = _of_pairs(influence, problem.key_times, problem.query_times, xp=xp)
    missing = None if influence.missing is None else in_form(influence.missing)
    return Prior(in_form(log_weight), visible, axis, in_form(influence.variance), missing)


def influence_of(timeline: Timeline, sde: SDE, noise: Noise, *, xp: Namespace) -> Influence:
    """Return the influence of keys on queries, from one side or both (spec §14)."""
    model = _dynamics(timeline, sde, noise, xp=xp)
    query_times, key_times, visible, causal, regular = timeline
    if not causal:
        shown = xp.ones_like(key_times, dtype=xp.bool) if visible is None else visible
        return smoothed(key_times, query_times, shown, model, xp=xp)
    keys = filter_gains(key_times, visible, model, regular=regular, xp=xp)
    return filtered(keys, query_times, model, xp=xp)


def _of_pairs(
    influence: Influence, key_times: Array, query_times: Array, *, xp: Namespace
) -> Array:
    """Return log a_ij, (..., n, m, d); of no meaning where a pair is hidden."""

    def log_weight(direction: Direction) -> Array:
        terms = zip(*direction, strict=True)
        return reduce(add, (i[..., :, None, :] - j[..., None, :, :] for i, j in terms))

    weights = [log_weight(each) for each in influence.directions]
    if len(weights) == 1:
        return weights[0]
    past = key_times[..., None, :] <= query_times[..., :, None]
    return xp.where(past[..., None], *weights)


def diffuse_dynamics(sde: SDE, noise: Noise, times: Array, *, xp: Namespace) -> Dynamics:
    """Return the model of a filter without a prior, (..., 1, d or 1).

    Its dtype is that of times, (..., m), which have as many leading axes as the parameters.
    """
    zero = xp.zeros((1,) * (times.ndim + 1), dtype=times.dtype, device=device_of(times))
    per_mode = isinstance(sde, DiagonalSDE)
    return Dynamics(
        *(
            zero + (insert_axes(x, 1) if per_mode else append_axes(x, 2))
            for x in (sde.decay, noise.process, noise.measurement)
        )
    )


def _dynamics(timeline: Timeline, sde: SDE, noise: Noise, *, xp: Namespace) -> Dynamics:
    """Return the model of the filter in the widest dtype.

    The prior of causal queries is diffuse, that of the others the stationary σ²/2μ where μ > 0.
    """
    model = diffuse_dynamics(sde, noise, timeline.key_times, xp=xp)
    if timeline.causal:
        return model
    decay, process, *_ = model
    driven = process > 0.0
    undriven = xp.where(decay > 0.0, xp.nan, decay)  # a state that decays to zero, exactly
    precision = xp.where(driven, 2.0 * decay / xp.where(driven, process, 1.0), undriven)
    return model._replace(precision=precision)
