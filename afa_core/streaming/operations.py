"""The operations of a tile, which may write their result over their first argument.

By themselves they are those of the array API and write over nothing. A backend whose arrays can
be written to passes its own, and saves the memory traffic of a new array for every step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace


def cut(x: Array, tokens: range) -> Array:
    """Return some tokens of an array (g, tokens, …)."""
    return x[:, tokens.start : tokens.stop, ...]


def toeplitz(x: Array, rows: int, columns: int, *, xp: Namespace) -> Array:
    """Return the array (g, rows, columns) with given diagonals, (g, 1, rows + columns − 1).

    That of the lower left corner comes first. Repeated with one number more, and read with its own
    length, the diagonals move on by one from row to row.
    """
    heads, length = x.shape[0], x.shape[-1]
    longer = xp.concat([x, x[..., :1]], axis=-1)
    repeated = xp.reshape(xp.broadcast_to(longer, (heads, rows, length + 1)), (heads, -1))
    moved = xp.reshape(repeated[:, : rows * length], (heads, rows, length))
    return moved[..., rows - 1 : rows - 1 + columns]


class Operations(NamedTuple):
    """Functions of arrays; those from `multiply` to `seen` may overwrite their first argument.

    Parameters
    ----------
    product, outer, affine, planes, over_planes : callable
        ``product(a, b)``: the matrix product; ``outer(a, b)``: the product of two arrays that
        broadcast against each other; ``affine(x, a, b)``: x + a·b of three of them;
        ``planes(a, b)``: two arrays (g, n, m) as one (g, 2, n, m);
        ``over_planes(a)``: the sum of such planes. Where `writes`, a last argument takes the
        result.
    multiply, add, subtract, maximum : callable
        Of two arrays, the second broadcasting to the first.
    add_product : callable
        ``add_product(x, a, b)``: x + a·b, of the shape of x.
    reciprocal, exp, log, log1p : callable
        Of one.
    norm2 : callable
        ``norm2(x)``: the squared length of every token, (g, n, 1).
    toeplitz : callable
        ``toeplitz(x, n, m)``: as the function of that name.
    add_matmul : callable or None
        ``add_matmul(x, a, b)``: x + the matrix product, over x, where a library has that in one.
    seen : callable
        ``seen(x, visible)``: x, and zero where nothing is visible.
    read : callable or None
        ``read(x)``: the values of an array as nested lists; None where values cannot be looked
        at, as while tracing. With it tiles are fitted to the times and ranges that arrive.
    cut : callable
        ``cut(x, tokens)``: some tokens of an array (g, tokens, …).
    keeps : bool
        Whether what belongs to a tile may be kept for when the tile comes again: not where
        one traced tile stands for all.
    writes : bool
        Whether there can be an array to take the result of a product.
    rooms : dict or None
        Where such arrays are kept from one evaluation to the next; None keeps them for one.
    """

    product: Callable[..., Array]
    outer: Callable[..., Array]
    affine: Callable[..., Array]
    planes: Callable[..., Array]
    over_planes: Callable[..., Array]
    multiply: Callable[[Array, Any], Array]
    add: Callable[[Array, Any], Array]
    subtract: Callable[[Array, Any], Array]
    maximum: Callable[[Array, Array], Array]
    add_product: Callable[[Array, Array, Array], Array]
    reciprocal: Callable[[Array], Array]
    exp: Callable[[Array], Array]
    log: Callable[[Array], Array]
    log1p: Callable[[Array], Array]
    seen: Callable[[Array, Array], Array]
    norm2: Callable[[Array], Array]
    toeplitz: Callable[[Array, int, int], Array]
    add_matmul: Callable[[Array, Array, Array], Array] | None = None
    read: Callable[[Array], Any] | None = None
    cut: Callable[[Array, Any], Array] = cut
    keeps: bool = True
    writes: bool = False
    rooms: dict[Any, Array] | None = None


class Rooms:
    """Results written to the same arrays tile after tile.

    New memory for every tile would cost more than the arithmetic. What a name stands for holds
    until the next result of that name.
    """

    def __init__(self, ops: Operations) -> None:
        self.ops = ops
        self.kept: dict[Any, Array] = {} if ops.rooms is None else ops.rooms

    def product(self, name: str, a: Array, b: Array) -> Array:
        """Return the matrix product."""
        return self._filled(name, self.ops.product, a, b)

    def add_product(self, name: str, x: Array, a: Array, b: Array) -> Array:
        """Return x + the matrix product; may overwrite x."""
        if self.ops.add_matmul is None:
            return self.ops.add(x, self.product(name, a, b))
        return self.ops.add_matmul(x, a, b)

    def outer(self, name: str, a: Array, b: Array) -> Array:
        """Return the product of two arrays that broadcast against each other."""
        return self._filled(name, self.ops.outer, a, b)

    def affine(self, name: str, x: Array, a: Array, b: Array) -> Array:
        """Return x + a·b of three arrays that broadcast against each other."""
        return self._filled(name, self.ops.affine, x, a, b)

    def planes(self, name: str, a: Array, b: Array) -> Array:
        """Return two arrays (g, n, m) as one, (g, 2, n, m)."""
        return self._filled(name, self.ops.planes, a, b)

    def over_planes(self, name: str, a: Array) -> Array:
        """Return the sum of planes, (g, s, n, m) to (g, n, m)."""
        return self._filled(name, self.ops.over_planes, a)

    def over_keys(self, x: Array, row: Array, *, xp: Namespace) -> Array:
        """Return Σ_j x_ij r_j, (g, n, 1), of a row (g, 1, m).

        As a matrix product of one column it would cost as much as one of tens.
        """
        return xp.sum(self.outer("weighed", x, row), axis=-1, keepdims=True)

    def over_queries(self, x: Array, column: Array, *, xp: Namespace) -> Array:
        """Return Σ_i x_ij c_i, (g, m, 1), of a column (g, n, 1)."""
        return xp.sum(self.outer("weighed", x, column), axis=-2)[..., None]

    def _filled(self, name: str, function: Callable[..., Array], *given: Array) -> Array:
        if not self.ops.writes:
            return function(*given)
        own = name, given[0].dtype, *(tuple(x.shape) for x in given)
        self.kept[own] = function(*given, self.kept.get(own))
        return self.kept[own]


def standard(xp: Namespace) -> Operations:
    """Return the operations of the array API, for any library and under any tracing."""
    return Operations(
        product=xp.matmul,
        outer=lambda x, y: x * y,
        affine=lambda x, a, b: x + a * b,
        planes=lambda x, y: xp.stack([x, y], axis=1),
        over_planes=lambda x: xp.sum(x, axis=1),
        multiply=lambda x, y: x * y,
        add=lambda x, y: x + y,
        subtract=lambda x, y: x - y,
        maximum=xp.maximum,
        add_product=lambda x, a, b: x + a * b,
        reciprocal=lambda x: 1.0 / x,
        exp=xp.exp,
        log=xp.log,
        log1p=xp.log1p,
        seen=lambda x, visible: xp.where(visible, x, 0.0),
        norm2=lambda x: xp.sum(x * x, axis=-1, keepdims=True),
        toeplitz=partial(toeplitz, xp=xp),
    )


def in_place(library: Any, windows: Callable[[Array, int], Array], **own: Any) -> Operations:
    """Return those of a library whose functions write to the array they are given as `out`.

    ``windows(x, m)``: all runs of m entries along the last axis, one row each, as a view. `own`
    are the operations that libraries name differently.
    """

    def over(name: str) -> Callable[..., Array]:
        function = getattr(library, name)
        return lambda x, *y: function(x, *y, out=x)

    return Operations(
        product=lambda x, y, room=None: library.matmul(x, y, out=room),
        outer=lambda x, y, room=None: library.multiply(x, y, out=room),
        planes=lambda x, y, room=None: library.stack([x, y], 1, out=room),
        over_planes=lambda x, room=None: library.sum(x, 1, out=room),
        multiply=over("multiply"),
        add=over("add"),
        subtract=over("subtract"),
        maximum=over("maximum"),
        reciprocal=over("reciprocal"),
        exp=over("exp"),
        log=over("log"),
        log1p=over("log1p"),
        toeplitz=lambda x, rows, columns: library.flip(windows(x, columns)[:, 0], (1,)),
        writes=True,
        **own,
    )
