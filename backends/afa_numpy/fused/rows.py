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
# on a regular grid, by lag: E, Σ − γ², |Δ|, V/σ² and its derivative in μ
TABLE_DECAYED, TABLE_SIGMA, TABLE_LAG, TABLE_VARIANCE, TABLE_SLOPE = range(15, 20)
# gradients of pairs in log w, cρ, Σ and log E
GRAD_LOG_WEIGHT, GRAD_DISTANCE, GRAD_SIGMA, GRAD_LOG_DECAY = range(20, 24)
# summed over queries: E² times that in cρ; e² times, and e²Δ_i times, that in Σ; that in log E
SUM_SQUARE, SUM_SIGMA, SUM_LAG_SIGMA, SUM_LOG_DECAY = range(24, 28)


ROWS = 28


@compiled_block
def new_rows(like: Any, components: int) -> Any:
    """Return all rows, of the dtype of an array; those of one component after another."""
    return np.empty((components * ROWS, 2 * BLOCK), like.dtype)
