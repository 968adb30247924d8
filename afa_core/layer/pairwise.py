"""Attention over all pairs by the reference, with a bias of the logits and dropout of the weights.

Both need the weight of every pair, which the implementations over tiles do not form (spec §8.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, Unpack

from afa_core._array.arrays import Array, with_rank
from afa_core._checks.arguments import Options, collect_arguments
from afa_core._checks.problem import prepare
from afa_core.model.sde import SDE, DiagonalSDE, RadialTangential
from afa_core.reference import materialise

Dropout: TypeAlias = Callable[[tuple[int, ...]], Array]
"""From the shape of the pairs, (..., n, m), to factors of their weights: 0 or 1/(1 − p)."""


class PairwiseEstimate(NamedTuple):
    """An estimate with the weights that it was formed with.

    Parameters
    ----------
    mean, precision : array
        As in `Estimate`.
    weights : array
        As `attention_weights` returns them, after dropout.
    """

    mean: Array
    precision: Any
    weights: Any


def check_implementation(implementation: str, **given: Any) -> None:
    """Raise ValueError if an argument was given that only the reference supports."""
    for name, x in given.items():
        if x is not None and implementation not in ("auto", "reference"):
            msg = (
                f"`implementation` must be 'reference' or 'auto' with `{name}`, got "
                f"{implementation!r}, which does not form the weight of every pair. Leave one of "
                "the two out."
            )
            raise ValueError(msg)


def pairwise_estimate(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    *,
    logit_bias: Array | None = None,
    dropout: Dropout | None = None,
    **options: Unpack[Options],
) -> PairwiseEstimate:
    """Return the estimate of `attention` by the reference, in O(n m) memory.

    Parameters
    ----------
    query, key, value, sde, **options
        As in `attention`.
    logit_bias : array, broadcastable to (..., n, m), or None
        B_ij, added to the logits L_ij.
    dropout : callable or None

    References
    ----------
    Spec §8.4.
    """
    problem, xp = prepare(collect_arguments(query, key, value, sde, options))
    rank, keys = len(problem.leading) + 2, key.shape[-2]
    if keys:  # else the only key is a hidden one
        factor = dropout and dropout((*problem.leading, query.shape[-2], keys))
        bias, factor = (
            None if x is None else problem.narrow(with_rank(x, rank), xp=xp)
            for x in (logit_bias, factor)
        )
        problem = problem._replace(logit_bias=bias, weight_factor=factor)
    result = materialise(problem, xp=xp)
    mean = problem.pack(result.mean, xp=xp)
    modes = (problem.modes,) if isinstance(sde, DiagonalSDE) else ()
    given = (..., slice(keys), *(slice(None) for _ in modes))

    def shaped(x: Array) -> Array:
        return xp.broadcast_to(x, (*mean.shape[:-1], *modes))

    precision, weights = result.precision, result.weights
    if isinstance(weights, RadialTangential):
        precision = RadialTangential(*map(shaped, precision))
        weights = RadialTangential(*(each[given] for each in weights))
    else:
        precision, weights = shaped(precision), weights[given]
    return PairwiseEstimate(problem.write(mean, xp=xp), precision, weights)
