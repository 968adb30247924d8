"""The three forms over one set of keys, in one frame to which all tokens are turned (spec §4–§6).

In a common frame the frequencies of keys cancel: a residual is q̃ − E k̃, an estimate Σ w E ṽ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    insert_axes,
    is_number,
    positive_part,
)
from afa_core._array.pairs import Pair, pack, square, unpack
from afa_core._dispatch import registered
from afa_core.decoding.lags import Faded, fade
from afa_core.decoding.products import against, weighed
from afa_core.decoding.storage import STANDARD
from afa_core.decoding.weights import Law, Weights, by_logit, by_residual
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    IsotropicSDE,
    RadialTangential,
    RadialTangentialSDE,
    parameters_of,
)
from afa_core.model.weighting import Weighting
from afa_core.reference.softmax import weighted_sum


class Tokens(NamedTuple):
    """Keys and values turned back to time zero of a frame; a column for every number a token."""

    key: Array  # (..., m, 2d), real parts before imaginary parts
    value: Array  # (..., m, 2d_v)
    key2: Array  # ‖k‖², (..., m, 1)
    times: Array  # since time zero of the frame, in the widest dtype, (..., m, 1)


class Asked(NamedTuple):
    """Queries turned back to time zero of the same frame."""

    query: Array  # (..., n, 2d)
    times: Array  # (..., n, 1)


class Sight(NamedTuple):
    """Which query sees which key.

    `visible` is (..., n or 1, m), None if every query sees every key. `clean` says that keys and
    values which some query does not see are finite, so that no zero weight makes NaN of them.
    """

    visible: Array | None
    clean: bool


class Sums(NamedTuple):
    """What the keys leave behind, with values turned back to time zero still."""

    peak: Array  # (..., n, 1), or (..., n, d) per mode
    total: Array
    carried: Array  # (..., n, 2d_v)
    precision: Array  # of the shape of the peak


class Model(NamedTuple):
    """The state-space model, the robust weight, and whether derivatives may be taken."""

    sde: Any
    law: Law
    sloped: bool


def model_of(
    sde: SDE,
    weighting: Weighting,
    inverse_temperature: Parameter,
    arrays: Sequence[Array],
    *,
    xp: Namespace,
) -> Model:
    """Gather a model for tokens made of these arrays, the first of them the queries."""

    def everything() -> Iterator[Array]:
        parameters = (*parameters_of(sde).values(), *weighting, inverse_temperature)
        yield from (*arrays, *(cast(Array, x) for x in parameters if not is_number(x)))

    sloped = registered("storage", xp, STANDARD).sloped(everything())
    return Model(sde, Law(weighting, inverse_temperature, arrays[0].shape[-1] // 2), sloped)


def evaluate(asked: Asked, tokens: Tokens, sight: Sight, it: Model, *, xp: Namespace) -> Any:
    """Return the sums of the form that the type of the SDE names; two of them for the last."""
    return FORMS[type(it.sde)](asked, tokens, sight, it, xp=xp)


def isotropic(asked: Asked, tokens: Tokens, sight: Sight, it: Model, *, xp: Namespace) -> Sums:
    """Sum over the keys of equation (4.1)."""
    faded = _fade(asked, tokens, sight, it, xp=xp)
    product = against(-2.0 * asked.query, tokens.key, xp=xp)
    query2 = xp.sum(asked.query**2, axis=-1, keepdims=True)
    key2 = xp.matrix_transpose(tokens.key2)
    residual2 = (key2 * faded.decayed + product) * faded.decayed + query2  # ρ
    sigma = faded.covariance(_each(it.sde.noise))
    weights = by_residual(residual2, sigma, sight.visible, it.law, xp=xp)
    carried = _carry(weights.pairs * faded.decayed, tokens.value, sight, xp=xp)
    return Sums(weights.peak, weights.total, carried, weights.precision)


def radial_tangential(
    asked: Asked, tokens: Tokens, sight: Sight, it: Model, *, xp: Namespace
) -> RadialTangential:
    """Sum over the keys of equation (6.2), along the anchor and across it."""
    faded = _fade(asked, tokens, sight, it, xp=xp)
    radial, tangential = (
        faded.covariance(_each(noise)) for noise in (it.sde.radial_noise, it.sde.tangential_noise)
    )
    residual2 = _residual2(asked.query, tokens, faded, xp=xp)
    distance = residual2.radial / radial + residual2.tangential / tangential
    log_weight = it.law.log_weight(distance)

    def along(variance: Array) -> Weights:
        logit = log_weight - xp.log(variance)
        return by_logit(logit, sight.visible, it.law, axis=-1, xp=xp)

    both = along(radial), along(tangential)
    carrying = xp.concat([each.pairs * faded.decayed for each in both], axis=-2)
    carried = _carry(carrying, tokens.value, _twice(sight, xp=xp), xp=xp)
    rows = asked.query.shape[-2]
    halves = carried[..., :rows, :], carried[..., rows:, :]
    return RadialTangential(
        *(Sums(w.peak, w.total, half, w.precision) for w, half in zip(both, halves, strict=True))
    )


def diagonal(asked: Asked, tokens: Tokens, sight: Sight, it: Model, *, xp: Namespace) -> Sums:
    """Sum over the keys of equation (5.1), mode by mode."""
    lag = _lag(asked, tokens, sight, xp=xp)[..., None]  # (..., n, m, 1)
    decay, *noise = (insert_axes(x, 2) for x in (it.sde.decay, *it.sde.noise))
    faded = fade(lag, decay, sloped=it.sloped, xp=xp)
    sigma = faded.covariance(type(it.sde.noise)(*noise))
    sigma = xp.broadcast_to(sigma, (*sigma.shape[:-1], it.law.modes))

    query, key, value = (unpack(x) for x in (asked.query, tokens.key, tokens.value))
    residual = Pair(
        *(
            q[..., :, None, :] - faded.decayed * k[..., None, :, :]
            for q, k in zip(query, key, strict=True)
        )
    )
    log_weight = it.law.log_weight(xp.sum(square(residual) / sigma, axis=-1))  # (..., n, m)
    visible = None if sight.visible is None else sight.visible[..., None]
    logit = log_weight[..., None] - xp.log(sigma)
    weights = by_logit(logit, visible, it.law, axis=-2, xp=xp)

    def carry(part: Array) -> Array:
        carried = weights.pairs * faded.decayed * part[..., None, :, :]
        if visible is not None and not sight.clean:
            carried = xp.where(visible, carried, 0.0)
        return xp.sum(carried, axis=-2)

    peak, total, precision = (x[..., 0, :] for x in weights[1:])
    return Sums(peak, total, pack(Pair(*map(carry, value)), xp=xp), precision)


FORMS: dict[type[SDE], Callable[..., Any]] = {
    IsotropicSDE: isotropic,
    DiagonalSDE: diagonal,
    RadialTangentialSDE: radial_tangential,
}


def _lag(asked: Asked, tokens: Tokens, sight: Sight, *, xp: Namespace) -> Array:
    """Return Δ_ij, (..., n, m), in the dtype of the computation; zero for hidden pairs."""
    lag = asked.times - xp.matrix_transpose(tokens.times)
    if sight.visible is not None and not sight.clean:
        lag = xp.where(sight.visible, lag, 0.0)
    return xp.astype(lag, asked.query.dtype, copy=False)


def _fade(asked: Asked, tokens: Tokens, sight: Sight, it: Model, *, xp: Namespace) -> Faded:
    lag = _lag(asked, tokens, sight, xp=xp)
    return fade(lag, append_axes(it.sde.decay, 2), sloped=it.sloped, xp=xp)


def _each(noise: Any) -> Any:
    return type(noise)(*(append_axes(x, 2) for x in noise))


def _carry(carrying: Array, value: Array, sight: Sight, *, xp: Namespace) -> Array:
    """Return Σ_j w_ij E_ij ṽ_j; what a query does not see leaves no trace."""
    if sight.visible is None or sight.clean:
        return weighed(carrying, value, xp=xp)
    return weighted_sum(carrying, value, sight.visible, xp=xp)


def _twice(sight: Sight, *, xp: Namespace) -> Sight:
    """Return the sight of the queries, and of the queries again."""
    if sight.visible is None or sight.clean:
        return sight
    return sight._replace(visible=xp.concat([sight.visible, sight.visible], axis=-2))


def _residual2(query: Array, tokens: Tokens, faded: Faded, *, xp: Namespace) -> RadialTangential:
    """Return |u†r|² and ‖r_⊥‖² with u = q/‖q‖; all is tangential where q = 0."""
    real, imag = unpack(query)
    turned = pack(Pair(-imag, real), xp=xp)
    both = against(xp.concat([query, turned], axis=-2), tokens.key, xp=xp)
    rows = query.shape[-2]
    product = Pair(both[..., :rows, :], both[..., rows:, :])  # G = q̃†k̃
    query2 = xp.sum(query**2, axis=-1, keepdims=True)
    safe = xp.where(query2 > 0.0, query2, 1.0)
    decayed = faded.decayed
    radial = square(Pair(query2 - decayed * product.real, decayed * product.imag)) / safe
    across = positive_part(xp.matrix_transpose(tokens.key2) - square(product) / safe, xp=xp)
    return RadialTangential(radial, decayed**2 * across)
