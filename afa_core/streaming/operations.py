"""The operations of a tile, which may write their result over their first argument.

By themselves they are those of the array API and write over nothing. A backend whose arrays can
be written to passes its own, and saves the memory traffic of a new array for every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from afa_core.arrays import Array, Namespace


class Operations(NamedTuple):
    """Functions of arrays; all but `product` may overwrite their first argument.

    Parameters
    ----------
    product : callable
        ``product(a, b)``: the matrix product.
    multiply, add, maximum : callable
        Of two arrays, the second broadcasting to the first.
    reciprocal, exp, log, log1p : callable
        Of one.
    read : callable or None
        ``read(x)``: the values of an array as nested lists; None where values cannot be looked
        at, as while tracing. With it tiles are fitted to the times and ranges that arrive.
    leading : int or None
        How many batches and heads are run at once; None runs all.
    """

    product: Callable[[Array, Array], Array]
    multiply: Callable[[Array, Any], Array]
    add: Callable[[Array, Any], Array]
    maximum: Callable[[Array, Array], Array]
    reciprocal: Callable[[Array], Array]
    exp: Callable[[Array], Array]
    log: Callable[[Array], Array]
    log1p: Callable[[Array], Array]
    read: Callable[[Array], Any] | None = None
    leading: int | None = None


def standard(xp: Namespace) -> Operations:
    """Return the operations of the array API, for any library and under any tracing."""
    return Operations(
        product=xp.matmul,
        multiply=lambda x, y: x * y,
        add=lambda x, y: x + y,
        maximum=xp.maximum,
        reciprocal=lambda x: 1.0 / x,
        exp=xp.exp,
        log=xp.log,
        log1p=xp.log1p,
    )
