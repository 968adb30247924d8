"""Attention over tiles in NumPy: head by head, so that a tile stays in the cache, in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import numpy as namespace

from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import Crossover, Engine, exits
from afa_core.streaming.forward.run import count_pairs, forward
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.streaming.operations import in_place
from afa_numpy.rotation import rotate

XP: Any = namespace


def _affine(x: Any, a: Any, b: Any, out: Any = None) -> Any:
    product = np.multiply(a, b, out=out)
    return np.add(product, x, out=product)


def _add_product(x: Any, a: Any, b: Any) -> Any:
    return np.add(x, a * b, out=x)


def _zero_hidden(x: Any, visible: Any) -> Any:
    np.copyto(x, 0.0, where=np.logical_not(visible))
    return x


def _windows(x: Any, length: int) -> Any:
    return np.lib.stride_tricks.sliding_window_view(x, length, -1)


OPERATIONS = in_place(
    np,
    _windows,
    affine=_affine,
    add_product=_add_product,
    zero_hidden=_zero_hidden,
    norm2=lambda x: np.vecdot(x, x)[..., None],
    read=lambda x: np.asarray(x).tolist(),
    by_heads=True,
)


def _run(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, return_precision: bool, xp: Any
) -> tuple[Any, Any]:
    ops = OPERATIONS._replace(buffers={})
    result = forward(operands, static, sizes, ops, return_precision=return_precision, xp=XP)
    return result.mean, result.precision


def _count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    return count_pairs(operands, static, sizes, OPERATIONS._replace(buffers={}), xp=XP)


ENGINE = Engine(
    _run,
    Sizes(256, 1024),
    Crossover(256, 180, 256),
    rotate,
    no_exit=exits,
    count_pairs=_count_pairs,
)
