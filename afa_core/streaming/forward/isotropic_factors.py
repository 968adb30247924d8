"""What the tiles of isotropic attention are computed from: factors of keys, queries and pairs."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array
from afa_core.streaming.lags import LagFactors
from afa_core.streaming.levels import BlockInfluence, PairInfluence


class IsotropicKeys(NamedTuple):
    """A block of keys at its reference time t_c."""

    key: Array  # f k̃, (g, m, 2d)
    x_term: Array  # g + c f²‖k‖², or without g, (g, m, 1)
    sigma_term: Array  # g, (g, m, 1)
    value: Array  # f ṽ, (g, m, 2d_v)
    factors: LagFactors  # of t_c − t_j, (g, m, 1)
    time: Array  # t_c, (g, 1, 1)
    influence: BlockInfluence | None  # of correlated keys


class IsotropicQueries(NamedTuple):
    """A block of queries at a reference time: that of a key block, or its own."""

    query: Array  # −2c e q̃ in the unit of x, (g, n, 2d)
    x_term: Array  # a + c‖q‖², or without a, in the unit of x, (g, n, 1)
    x_factor: Array  # e² in the unit of x, (g, n, 1)
    sigma_term: Array  # a in the unit of Σ, (g, n, 1)
    sigma_factor: Array  # e² in the unit of Σ, (g, n, 1)
    factors: LagFactors  # of the lag from the reference time to t_i, (g, n, 1)


class IsotropicPairs(NamedTuple):
    """E and Σ of the pairs of a tile without a reference time, (g, n, m)."""

    decayed: Array
    sigma: Array


class IsotropicScores(NamedTuple):
    """x and Σ of a tile, and E ṽ as (e of queries, f ṽ) or as (E of pairs, ṽ)."""

    x: Array | None
    sigma: Array | None
    decayed: Array  # (g, n, 1), with the influence of queries, or (g, n, m)
    value: Array  # (g, m, 2d_v)
    influence: PairInfluence | None = None  # of correlated keys
    queries: IsotropicQueries | None = None
    keys: IsotropicKeys | None = None
    pairs: IsotropicPairs | None = None
