"""The rows of the diagonal form: those of a mode lie together, and its tokens are transposed.

Loops run over modes, then queries, then keys, so that the rows of one mode stay in the nearest
cache. Arrays differ by what has a place of its own among keys, since compilers see that rows do not
overlap where they are a known number of places apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import BLOCK, compiled, compiled_block
from afa_numpy.fused.rows import new_rows

ROWS = 32
"""Queries whose robust weights are kept from one pass over the modes to the next."""

# of a mode, (d, MODE_ROWS, BLOCK). Of keys: √c k̃, ṽ, f, g, influence; of queries: √c q̃, e, a,
# influence; the gradients in the mean over Z, in Z, in every exp(L) where β is not 1; the peak
KEY_REAL, KEY_IMAG, VALUE_REAL, VALUE_IMAG, KEY_DECAYED, KEY_SIGMA, KEY_INFLUENCE = range(7)
QUERY_REAL, QUERY_IMAG, QUERY_DECAYED, QUERY_SIGMA, QUERY_INFLUENCE = range(7, 12)
OUTWARD_REAL, OUTWARD_IMAG, GRAD_TOTAL, GRAD_PRECISION, PEAK = range(12, 17)
# gradients of a block of queries in √c q̃, over 2
GRAD_QUERY_REAL, GRAD_QUERY_IMAG = range(17, 19)
# gradients of a tile: in √c k̃, over −2, and ṽ; in Σ times e², log E and log a of either direction,
# summed over queries; in Σ, Σ times g, log E and log a of either direction, summed over keys
GRAD_KEY_REAL, GRAD_KEY_IMAG, GRAD_VALUE_REAL, GRAD_VALUE_IMAG = range(19, 23)
SUM_SIGMA, SUM_LOG_DECAY, SUM_PAST, SUM_LATER = range(23, 27)
ROW_SIGMA, ROW_KEY_SIGMA, ROW_LOG_DECAY, ROW_PAST, ROW_LATER = range(27, 32)
MODE_ROWS = 32

# of pairs, (d, 5, 2 BLOCK): E, 1/Σ, and 1/Σ or influence or its logarithm; gradients in Σ and log E
# of pairs with a lag
DECAYED, INVERSE, PRIOR, LAG_SIGMA, LAG_LOG_DECAY = range(5)

# of all modes, (ROWS, 4, BLOCK): r; w or log w; the gradient in log w, then that in r; that in |Δ|
RATIO, ROBUST, GRAD_RATIO, GRAD_LAG = range(4)


class Work(NamedTuple):
    """What the tiles of a block of queries write to."""

    rows: Any  # see `rows`
    modes: Any
    pairs: Any
    shared: Any


@compiled_block
def new_work(like: Any, modes: int) -> Work:
    """Return what tiles write to, of the dtype of an array."""
    return Work(
        new_rows(like, 1),
        np.zeros((modes, MODE_ROWS, BLOCK), like.dtype),
        np.zeros((modes, 5, 2 * BLOCK), like.dtype),
        np.zeros((ROWS, 4, BLOCK), like.dtype),
    )


@compiled
def load_tokens(tokens: Any, scale: Any, modes: Any, real: int) -> None:
    """Write a multiple of tokens (n, 2d) to two rows of every mode."""
    count = modes.shape[0]
    imaginary = tokens[:, count:]
    for k in range(count):
        for i in range(tokens.shape[0]):
            modes[k, real, i] = scale * tokens[i, k]
            modes[k, real + 1, i] = scale * imaginary[i, k]


@compiled
def add_tokens(modes: Any, real: int, scale: Any, found: Any) -> None:
    """Add a multiple of two rows of every mode to tokens (n, 2d)."""
    count = modes.shape[0]
    imaginary = found[:, count:]
    for k in range(count):
        for i in range(found.shape[0]):
            found[i, k] += scale * modes[k, real, i]
            imaginary[i, k] += scale * modes[k, real + 1, i]


@compiled
def clear(modes: Any, first: int, last: int) -> None:
    """Set rows of every mode to zero."""
    for k in range(modes.shape[0]):
        for row in range(first, last):
            for j in range(BLOCK):
                modes[k, row, j] = modes.dtype.type(0)
