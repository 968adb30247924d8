"""The sums over one set of keys, in each of the three forms (spec §4–§6, §9).

Queries, keys and values are rotated to a common reference time, where the frequencies of the keys
cancel: a residual is q̃ − E k̃, an estimate Σ w E ṽ.
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
)
from afa_core._array.pairs import Pair, direction, pack, square, unpack
from afa_core.decoding.execution import storage_of
from afa_core.decoding.influence import Influence, QueryFilter, influence_on
from afa_core.decoding.lags import LagTerms, lag_terms
from afa_core.decoding.products import dot_products, weighted_values
from afa_core.decoding.weights import (
    PairWeights,
    WeightSpec,
    prior_weighted,
    weights_from_residuals,
)
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    IsotropicSDE,
    RadialTangential,
    RadialTangentialSDE,
    parameters_of,
)
from afa_core.model.weighting import Weighting
from afa_core.reference.prior import pair_noise
from afa_core.reference.softmax import weighted_sum


class Queries(NamedTuple):
    """Queries rotated to the reference time."""

    query: Array  # (..., n, 2d), real parts before imaginary parts
    times: Array  # since the reference time, in the widest dtype, (..., n, 1)
    variance: Any = None  # γ² of each, (..., n), (..., n, d) or two of them
    filter: QueryFilter | None = None  # if keys are correlated

    @property
    def arrays(self) -> list[Array]:
        """The queries, and their variances if they have some."""
        variance = self.variance
        own = variance if isinstance(variance, tuple) else (variance,)
        return [self.query, *(x for x in own if x is not None)]


class Tokens(NamedTuple):
    """Keys and values rotated to the reference time."""

    key: Array  # (..., m, 2d), real parts before imaginary parts
    value: Array  # (..., m, 2d_v)
    key2: Array  # ‖k‖², (..., m, 1)
    times: Array  # since the reference time, in the widest dtype, (..., m, 1)
    influence: Array | None = None  # terms of log K_j − C_j, and C_j, if correlated

    def map(self, function: Callable[[Array], Array]) -> Tokens:
        """Apply a function to every array."""
        influence = None if self.influence is None else function(self.influence)
        key, value, key2, times = map(function, self[:4])
        return Tokens(key, value, key2, times, influence)


class KeyVisibility(NamedTuple):
    """Which keys are visible to which queries.

    `visible` is (..., n or 1, m), None if all keys are visible to all queries. `finite` is whether
    hidden keys and values are known to be finite, so that a weight of zero is enough to hide them.
    """

    visible: Array | None
    finite: bool


class KeySums(NamedTuple):
    """Sums over the keys, for every query; `carried` is still rotated to the reference time."""

    peak: Array  # (..., n, 1), or (..., n, d) per mode
    total: Array  # of the shape of the peak
    carried: Array  # (..., n, 2d_v)
    precision: Array  # of the shape of the peak


class ModelSpec(NamedTuple):
    """The state-space model, the weight, and whether gradients may be taken."""

    sde: SDE
    weight: WeightSpec
    requires_grad: bool


def model_spec(
    sde: SDE,
    weighting: Weighting,
    inverse_temperature: Parameter,
    arrays: Sequence[Array],
    *,
    xp: Namespace,
) -> ModelSpec:
    """Return the model of an evaluation on these arrays, of which the first is the queries."""

    def differentiable() -> Iterator[Array]:
        parameters = (*parameters_of(sde).values(), *weighting, inverse_temperature)
        yield from (*arrays, *(cast(Array, x) for x in parameters if not is_number(x)))

    requires_grad = storage_of(xp).requires_grad(differentiable())
    weight = WeightSpec(weighting, inverse_temperature, arrays[0].shape[-1] // 2)
    return ModelSpec(sde, weight, requires_grad)


def evaluate(
    queries: Queries, tokens: Tokens, visibility: KeyVisibility, spec: ModelSpec, *, xp: Namespace
) -> KeySums | RadialTangential:
    """Return the sums of the form that the type of the SDE selects; two in the last form."""
    return FORMS[type(spec.sde)](queries, tokens, visibility, spec, xp=xp)


def isotropic_sums(
    queries: Queries, tokens: Tokens, visibility: KeyVisibility, spec: ModelSpec, *, xp: Namespace
) -> KeySums:
    """Return the sums of equation (4.1)."""
    assert isinstance(spec.sde, IsotropicSDE)
    terms = _lag_terms(queries, tokens, visibility, spec, xp=xp)
    product = dot_products(-2.0 * queries.query, tokens.key, xp=xp)
    query2 = xp.sum(queries.query**2, axis=-1, keepdims=True)
    key2 = xp.matrix_transpose(tokens.key2)
    residual2 = (key2 * terms.decayed + product) * terms.decayed + query2  # ρ
    covariance = terms.covariance(pair_noise(spec.sde.noise, queries.variance))
    influence = _influence(queries, tokens, xp=xp)
    weights = weights_from_residuals(
        residual2,
        covariance,
        None if influence is None else influence.of_filter(0),
        visibility.visible,
        spec.weight,
        xp=xp,
    )
    carried = _carried(weights.weight * terms.decayed, tokens.value, visibility, xp=xp)
    return KeySums(weights.peak, weights.total, carried, weights.precision)


def radial_tangential_sums(
    queries: Queries, tokens: Tokens, visibility: KeyVisibility, spec: ModelSpec, *, xp: Namespace
) -> RadialTangential:
    """Return the sums of equation (6.2), along the anchor and across it."""
    assert isinstance(spec.sde, RadialTangentialSDE)
    terms = _lag_terms(queries, tokens, visibility, spec, xp=xp)
    noises = spec.sde.radial_noise, spec.sde.tangential_noise
    radial, tangential = (
        terms.covariance(pair_noise(*each))
        for each in zip(noises, queries.variance or (None, None), strict=True)
    )
    residual2 = _squared_residuals(queries.query, tokens, terms, xp=xp)
    distance = residual2.radial / radial + residual2.tangential / tangential
    log_weight = spec.weight.log_weight(distance)
    influence = _influence(queries, tokens, xp=xp)

    def weights_of(variance: Array, number: int) -> PairWeights:
        own = None if influence is None else influence.of_filter(number)
        visible = visibility.visible
        return prior_weighted(log_weight, variance, own, visible, spec.weight, axis=-1, xp=xp)

    both = weights_of(radial, 0), weights_of(tangential, 1)
    rows = xp.concat([each.weight * terms.decayed for each in both], axis=-2)
    carried = _carried(rows, tokens.value, _repeated(visibility, xp=xp), xp=xp)
    queries_count = queries.query.shape[-2]
    halves = carried[..., :queries_count, :], carried[..., queries_count:, :]
    return RadialTangential(
        *(KeySums(w.peak, w.total, half, w.precision) for w, half in zip(both, halves, strict=True))
    )


def diagonal_sums(
    queries: Queries, tokens: Tokens, visibility: KeyVisibility, spec: ModelSpec, *, xp: Namespace
) -> KeySums:
    """Return the sums of equation (5.1), mode by mode."""
    assert isinstance(spec.sde, DiagonalSDE)
    lag = _lag(queries, tokens, visibility, xp=xp)[..., None]  # (..., n, m, 1)
    decay = insert_axes(spec.sde.decay, 2)
    terms = lag_terms(lag, decay, requires_grad=spec.requires_grad, xp=xp)
    covariance = terms.covariance(pair_noise(spec.sde.noise, queries.variance, per_mode=True))
    covariance = xp.broadcast_to(covariance, (*covariance.shape[:-1], spec.weight.modes))

    query, key, value = (unpack(x) for x in (queries.query, tokens.key, tokens.value))
    residual = Pair(
        *(
            q[..., :, None, :] - terms.decayed * k[..., None, :, :]
            for q, k in zip(query, key, strict=True)
        )
    )
    distance = xp.sum(square(residual) / covariance, axis=-1)  # (..., n, m)
    log_weight = spec.weight.log_weight(distance)[..., None]
    visible = None if visibility.visible is None else visibility.visible[..., None]
    influence = _influence(queries, tokens, xp=xp)
    if influence is not None:
        influence = influence._replace(variance=influence.variance[..., None, :])
    weights = prior_weighted(
        log_weight, covariance, influence, visible, spec.weight, axis=-2, xp=xp
    )

    def carry(part: Array) -> Array:
        carried = weights.weight * terms.decayed * part[..., None, :, :]
        if visible is not None and not visibility.finite:
            carried = xp.where(visible, carried, 0.0)
        return xp.sum(carried, axis=-2)

    peak, total, precision = (x[..., 0, :] for x in weights[1:])
    return KeySums(peak, total, pack(Pair(*map(carry, value)), xp=xp), precision)


FORMS: dict[type[SDE], Callable[..., KeySums | RadialTangential]] = {
    IsotropicSDE: isotropic_sums,
    DiagonalSDE: diagonal_sums,
    RadialTangentialSDE: radial_tangential_sums,
}


def _lag(queries: Queries, tokens: Tokens, visibility: KeyVisibility, *, xp: Namespace) -> Array:
    """Return Δ_ij, (..., n, m), in the dtype of the computation; zero for hidden pairs."""
    lag = queries.times - xp.matrix_transpose(tokens.times)
    if visibility.visible is not None and not visibility.finite:
        lag = xp.where(visibility.visible, lag, 0.0)
    return xp.astype(lag, queries.query.dtype, copy=False)


def _lag_terms(
    queries: Queries, tokens: Tokens, visibility: KeyVisibility, spec: ModelSpec, *, xp: Namespace
) -> LagTerms:
    lag = _lag(queries, tokens, visibility, xp=xp)
    decay = append_axes(spec.sde.decay, 2)
    return lag_terms(lag, decay, requires_grad=spec.requires_grad, xp=xp)


def _influence(queries: Queries, tokens: Tokens, *, xp: Namespace) -> Influence | None:
    """Return the influence of the keys in the dtype of the computation, None if independent."""
    if tokens.influence is None:
        return None
    assert queries.filter is not None
    return influence_on(queries.filter, tokens.influence, queries.query.dtype, xp=xp)


def _carried(weight: Array, value: Array, visibility: KeyVisibility, *, xp: Namespace) -> Array:
    """Return Σ_j w_ij E_ij ṽ_j of weights w_ij E_ij; hidden values do not count, NaN included."""
    if visibility.visible is None or visibility.finite:
        return weighted_values(weight, value, xp=xp)
    return weighted_sum(weight, value, visibility.visible, xp=xp)


def _repeated(visibility: KeyVisibility, *, xp: Namespace) -> KeyVisibility:
    """Return the visibility for the rows of all queries twice, one after the other."""
    if visibility.visible is None or visibility.finite:
        return visibility
    visible = xp.concat([visibility.visible, visibility.visible], axis=-2)
    return visibility._replace(visible=visible)


def _squared_residuals(
    query: Array, tokens: Tokens, terms: LagTerms, *, xp: Namespace
) -> RadialTangential:
    """Return |u†r|² and ‖r_⊥‖² with u = q/‖q‖; where q = 0 all of r counts as tangential."""
    along, length = direction(unpack(query), xp=xp)  # u, and ‖q‖ in a column
    rows = xp.concat([pack(along, xp=xp), pack(Pair(-along.imag, along.real), xp=xp)], axis=-2)
    both = dot_products(rows, tokens.key, xp=xp)
    count, decayed = query.shape[-2], terms.decayed
    product = Pair(both[..., :count, :], both[..., count:, :])  # u†k̃
    key2, along2 = xp.matrix_transpose(tokens.key2), square(product)
    radial = square(Pair(length - decayed * product.real, decayed * product.imag))
    # as in `reference.radial_tangential`, not by `where`
    return RadialTangential(radial, decayed**2 * xp.maximum(key2 - along2, xp.zeros_like(along2)))
