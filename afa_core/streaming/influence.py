"""The operands of correlated keys, and what their estimates are corrected by (spec §14)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, positive_part
from afa_core._checks.problem import Problem
from afa_core.model.influence import Influence, Timeline, log_or_lowest
from afa_core.model.sde import SDE, DiagonalSDE, RadialTangentialSDE
from afa_core.reference.prior import influence_of, precision_over


class StreamedInfluence(NamedTuple):
    """Levels of queries and keys, and the exact variances, for each component of a form.

    Leading axes are those of the problem or broadcast to them.
    """

    query_level: Array  # (..., n, t, s)
    key_level: Array  # (..., m, t, s)
    variance: Array  # P_i, (..., n, s); infinite if keys on both sides are all hidden
    missing: Array | None  # 1 − Σ_j a_ij, (..., n, s)

    @property
    def directions(self) -> int:
        """Number of directions in which keys have influence."""
        return 1 if self.missing is None else 2

    def log_missing(self, *, xp: Namespace) -> Array | None:
        """Return log max(1 − Σ_j a_ij, 0)."""
        return None if self.missing is None else log_or_lowest(self.missing, xp=xp)

    def mean(self, mean: Array, estimate: int, problem: Problem, *, xp: Namespace) -> Array:
        """Return max(1, Σ_j a_ij) times an estimate, (..., n, 2d_v): radial, tangential or both."""
        if self.missing is None:
            return mean
        missing = self.missing
        if isinstance(problem.sde, RadialTangentialSDE):
            missing = missing[..., estimate : estimate + 1]
        elif isinstance(problem.sde, DiagonalSDE):  # modes in halves
            missing = xp.concat([missing, missing], axis=-1)
        return mean * problem.narrow(1.0 + positive_part(-missing, xp=xp), xp=xp)

    def precision(self, found: Array, problem: Problem, *, xp: Namespace) -> Array:
        """Return p from max(1 − Σ_j a_ij, 0) + Σ_j a_ij w_ij, (..., n, s)."""
        if self.missing is not None:
            found = found / (1.0 + positive_part(-problem.narrow(self.missing, xp=xp), xp=xp))
        return precision_over(problem.narrow(self.variance, xp=xp), found, xp=xp)


def streamed_influence(
    timeline: Timeline, sde: SDE, components: int, *, xp: Namespace
) -> StreamedInfluence:
    """Return the influence of keys in each of the `components` of a form."""
    if isinstance(sde, RadialTangentialSDE):
        noises = [sde.radial_noise, sde.tangential_noise]
    else:
        noises = [sde.noise]
    found = [influence_of(timeline, sde, noise, xp=xp) for noise in noises]

    def joined(arrays: list[Array]) -> Array:
        if len(arrays) > 1:
            return xp.concat(xp.broadcast_arrays(*arrays), axis=-1)
        return xp.broadcast_to(arrays[0], (*arrays[0].shape[:-1], components))

    def levels(of: Influence, name: str) -> Array:
        terms = [term for each in of.directions for term in getattr(each, name)]
        return xp.stack(xp.broadcast_arrays(*terms), axis=-2)

    missing = [each.missing for each in found if each.missing is not None]
    variance = joined([each.variance for each in found])
    if missing and timeline.visible is not None:
        counted = xp.any(timeline.visible, axis=-1)[..., None, None]
        variance = xp.where(counted, variance, xp.inf)
    return StreamedInfluence(
        joined([levels(each, "query") for each in found]),
        joined([levels(each, "key") for each in found]),
        variance,
        joined(missing) if missing else None,
    )
