"""Adaptive Filter Attention on arrays of any library that follows the array API standard.

Notes
-----
The page *Transforms* of the documentation lists which transforms of JAX and PyTorch work on each
function; `explain` tells which derivatives a call of `attention` lacks.
"""

from importlib.metadata import version

from afa_core import kalman
from afa_core._checks.order import validate_times
from afa_core.attention import (
    VisitedBlocks,
    attention,
    attention_weights,
    estimate,
    explain,
    visited_blocks,
)
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.eviction import evict, evicted_share
from afa_core.decoding.key_influence import KeyInfluence, key_influence
from afa_core.decoding.merging import PartialAttention, finish, merge
from afa_core.decoding.partial import partial_attention
from afa_core.decoding.selection import select
from afa_core.decoding.step import decode_step, estimate_step
from afa_core.implementations import Explanation
from afa_core.model.diagonalise import Basis, diagonalise
from afa_core.model.estimates import (
    Estimate,
    delay_keys,
    equilibrium,
    gate,
    innovation,
    predict,
)
from afa_core.model.sampling import sample
from afa_core.model.sde import (
    DiagonalSDE,
    IsotropicSDE,
    Noise,
    RadialTangential,
    RadialTangentialSDE,
)
from afa_core.model.simulate import Trajectory, simulate
from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform
from afa_core.windowed.window import window_error, windowed_attention

__all__ = [
    "Basis",
    "DecodeCache",
    "DiagonalSDE",
    "Estimate",
    "Explanation",
    "Gaussian",
    "IsotropicSDE",
    "KeyInfluence",
    "Noise",
    "PartialAttention",
    "RadialTangential",
    "RadialTangentialSDE",
    "Rational",
    "StudentT",
    "Trajectory",
    "Uniform",
    "VisitedBlocks",
    "attention",
    "attention_weights",
    "decode_step",
    "delay_keys",
    "diagonalise",
    "equilibrium",
    "estimate",
    "estimate_step",
    "evict",
    "evicted_share",
    "explain",
    "finish",
    "gate",
    "innovation",
    "kalman",
    "key_influence",
    "merge",
    "partial_attention",
    "predict",
    "sample",
    "select",
    "simulate",
    "validate_times",
    "visited_blocks",
    "window_error",
    "windowed_attention",
]

__version__ = version("afa-core")
