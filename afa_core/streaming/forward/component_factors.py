"""What tiles with several components are computed from: factors of keys, queries and pairs."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.lags import LagFactors
from afa_core.streaming.levels import BlockInfluence, PairInfluence


class ComponentKeys(NamedTuple):
    """A block of keys at its reference time t_c."""

    key: Array  # √c f k̃, (g, groups, channels, m)
    value: Array  # f ṽ, (g, groups, channels, m)
    sigma_term: Array  # g, (g, s, 1, m)
    factors: LagFactors  # of t_c − t_j, (g, groups, 1, m)
    time: Array  # t_c, (g, 1, 1)
    influence: BlockInfluence | None  # of correlated keys


class ComponentQueries(NamedTuple):
    """A block of queries at the reference time of a key block."""

    factors: LagFactors  # of t_i − t_c, (g, groups, 1, n)
    sigma_term: Array  # a, (g, s, 1, n)


class ComponentPairs(NamedTuple):
    """The lags and Σ of the pairs of a tile without a reference time."""

    factors: LagFactors  # (g, groups, n, m)
    sigma: Array  # (g, s, n, m)
    sign: Array  # of the lag, whose size is in `factors`, (g, 1, n, m)


class QueryResiduals(NamedTuple):
    """Radial–tangential residuals and what they are computed from, in the unit 1/√c, (g, n, m)."""

    along: Array  # P − ‖q‖
    imag: Array  # B


class ComponentScores(NamedTuple):
    """What the weights of a tile are computed from.

    `decayed` is E of pairs; or e of queries, where key and value contain f.
    """

    inverse: Array  # 1/Σ, (g, s, n, m)
    decayed: Array  # (g, groups, n, 1) or (g, groups, n, m)
    key: Array  # √c k̃ or √c f k̃, (g, groups, channels, m)
    value: Array  # ṽ or f ṽ, (g, groups, channels, m)
    influence: PairInfluence | None = None  # of correlated keys, with an axis s
    shares: Array | None = None  # cρ_s/Σ_s, (g, s, n, m)
    ratio: Array | None = None  # r, their sum, (g, n, m)
    residuals: QueryResiduals | None = None  # of the radial–tangential form
    queries: ComponentQueries | None = None
    keys: ComponentKeys | None = None
    pairs: ComponentPairs | None = None


def as_row(x: Array, *, xp: Namespace) -> Array:
    """Return numbers of tokens (g, tokens, s) as rows, (g, s, 1, tokens)."""
    return xp.matrix_transpose(x)[:, :, None, :]
