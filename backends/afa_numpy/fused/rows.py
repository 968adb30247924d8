"""The rows that the loops over a tile write to: all in one array, (rows, 2 `BLOCK`).

One array for all, since compilers then see that rows do not overlap, and count no references.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import BLOCK, compiled_block

# of the pairs of a query: E, Σ, a or its logarithm, cρ, Σ/x or cρ/Σ, log (1 + cρ/Σ), weight or L
DECAYED, SIGMA, INFLUENCE, DISTANCE, RATIO, LOG_ROBUST, WEIGHT = range(7)
LAG, VARIANCE, SPARE, BITS = range(7, 11)  # |Δ|, V/σ², and two for elementary functions
KEY_DECAYED, KEY_SIGMA, KEY_INFLUENCE, KEY2 = range(11, 15)  # of keys: f, g, influence, c‖k‖²
QUERY_DECAYED, QUERY_SIGMA, QUERY_INFLUENCE = range(15, 18)  # of queries: e, a, influence
TABLE_DECAYED, TABLE_SIGMA = range(18, 20)  # on a regular grid, by lag: E and Σ − γ²
# gradients of pairs in log w, cρ, Σ and log E
GRAD_LOG_WEIGHT, GRAD_DISTANCE, GRAD_SIGMA, GRAD_LOG_DECAY = range(20, 24)
# summed over queries: E² times that in cρ; e² times that in Σ, and that in log E, which are summed
# over the pairs of a lag where there is a table; summed over keys: those in Σ and log e
SUM_SQUARE, SUM_SIGMA, SUM_LOG_DECAY, ROW_SIGMA, ROW_LOG_DECAY = range(24, 29)

ROWS = 29


@compiled_block
def new_rows(like: Any, components: int) -> Any:
    """Return all rows, of the dtype of an array; those of one component after another."""
    return np.empty((components * ROWS, 2 * BLOCK), like.dtype)
