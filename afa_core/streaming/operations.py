"""The operations that a tile is evaluated with, some of which may overwrite their first argument.

The standard ones are those of the array API and overwrite nothing. A backend with writable arrays
passes its own, which saves the memory traffic of a new array for every operation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange
from afa_core._array.products import matmul


def cut(x: Array, tokens: TokenRange) -> Array:
    """Return a range of tokens of an array (g, tokens, …)."""
    return x[:, tokens.start : tokens.start + len(tokens), ...]


def toeplitz(x: Array, rows: int, columns: int, *, xp: Namespace) -> Array:
    """Return the Toeplitz array (g, rows, columns) of given diagonals, (g, 1, rows + columns − 1).

    The diagonal of the lower left corner comes first. The diagonals are repeated with one more
    entry and reshaped to rows of their own length, so that each row is shifted by one.
    """
    heads, length = x.shape[0], x.shape[-1]
    longer = xp.concat([x, x[..., :1]], axis=-1)
    repeated = xp.broadcast_to(longer, (heads, rows, length + 1))
    repeated = xp.reshape(repeated, (heads, rows * (length + 1)))
    shifted = xp.reshape(repeated[:, : rows * length], (heads, rows, length))
    return shifted[..., rows - 1 : rows - 1 + columns]


class Operations(NamedTuple):
    """Functions of arrays, of which `multiply` to `zero_hidden` may overwrite their first argument.

    Parameters
    ----------
    product, outer, affine, stack_components, sum_components : callable
        ``product(a, b)``: the matrix product. ``outer(a, b)``: the product of two arrays that
        broadcast against each other. ``affine(x, a, b)``: x + a·b of three of them.
        ``stack_components(a, b)``: two arrays (g, n, m) as one (g, 2, n, m).
        ``sum_components(a)``: the sum over that axis, (g, s, n, m) to (g, n, m). Where
        `writes_out`, a last argument is the array that takes the result, or None.
    multiply, divide, add, subtract, maximum : callable
        Of two arrays, the second broadcasting to the first.
    add_product : callable
        ``add_product(x, a, b)``: x + a·b, of the shape of x.
    reciprocal, exp, log, log1p : callable
        Of one array.
    zero_hidden : callable
        ``zero_hidden(x, visible)``: x where `visible`, zero elsewhere.
    norm2 : callable
        ``norm2(x)``: the squared length of every token, (g, n, 1).
    toeplitz : callable
        ``toeplitz(x, n, m)``: as the function `toeplitz`.
    add_matmul : callable or None
        ``add_matmul(x, a, b)``: x + the matrix product, written to x, where a library has it.
    read : callable or None
        ``read(x)``: the values of an array as nested lists. None where values cannot be read, as
        while tracing; with it the blocks are fitted to the actual times and ranges.
    cut : callable
        ``cut(x, tokens)``: a range of tokens of an array (g, tokens, …).
    by_heads : bool
        Whether heads are evaluated one after another, so that a tile stays in the cache.
    caches : bool
        Whether quantities of a block may be cached until the block is used again; False where
        one traced block stands for all.
    writes_out : bool
        Whether products can write their result to an existing array.
    buffers : dict or None
        Arrays for such results, kept from one evaluation to the next; None keeps them for one
        evaluation.
    """

    product: Callable[..., Array]
    outer: Callable[..., Array]
    affine: Callable[..., Array]
    stack_components: Callable[..., Array]
    sum_components: Callable[..., Array]
    multiply: Callable[[Array, Any], Array]
    divide: Callable[[Array, Any], Array]
    add: Callable[[Array, Any], Array]
    subtract: Callable[[Array, Any], Array]
    maximum: Callable[[Array, Array], Array]
    add_product: Callable[[Array, Array, Array], Array]
    reciprocal: Callable[[Array], Array]
    exp: Callable[[Array], Array]
    log: Callable[[Array], Array]
    log1p: Callable[[Array], Array]
    zero_hidden: Callable[[Array, Array], Array]
    norm2: Callable[[Array], Array]
    toeplitz: Callable[[Array, int, int], Array]
    add_matmul: Callable[[Array, Array, Array], Array] | None = None
    read: Callable[[Array], Any] | None = None
    cut: Callable[[Array, TokenRange], Array] = cut
    by_heads: bool = False
    caches: bool = True
    writes_out: bool = False
    buffers: dict[Any, Array] | None = None


class Workspace:
    """Buffers that results are written to, tile after tile.

    Allocating memory for every tile would cost more than the arithmetic. A result is valid until
    the next result of the same name.
    """

    def __init__(self, ops: Operations) -> None:
        self.ops = ops
        self.buffers: dict[Any, Array] = {} if ops.buffers is None else ops.buffers

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

    def stack_components(self, name: str, a: Array, b: Array) -> Array:
        """Return two arrays (g, n, m) as one, (g, 2, n, m)."""
        return self._filled(name, self.ops.stack_components, a, b)

    def sum_components(self, name: str, a: Array) -> Array:
        """Return the sum over components, (g, s, n, m) to (g, n, m)."""
        return self._filled(name, self.ops.sum_components, a)

    def sum_over_keys(self, x: Array, row: Array, *, xp: Namespace) -> Array:
        """Return Σ_j x_ij r_j, (g, n, 1), for a row r, (g, 1, m).

        A matrix product with a single column would cost as much as one with tens of columns.
        """
        return xp.sum(self.outer("weighted", x, row), axis=-1, keepdims=True)

    def sum_over_queries(self, x: Array, column: Array, *, xp: Namespace) -> Array:
        """Return Σ_i x_ij c_i, (g, m, 1), for a column c, (g, n, 1)."""
        return xp.sum(self.outer("weighted", x, column), axis=-2)[..., None]

    def _filled(self, name: str, function: Callable[..., Array], *arguments: Array) -> Array:
        if not self.ops.writes_out:
            return function(*arguments)
        heads = max(x.shape[0] for x in arguments)
        buffer = name, arguments[0].dtype, *(tuple(x.shape[1:]) for x in arguments)
        held = self.buffers.get(buffer)
        if held is None or held.shape[0] < heads:
            self.buffers[buffer] = held = function(*arguments, None)
            return held
        return function(*arguments, held[:heads, ...])


def standard(xp: Namespace) -> Operations:
    """Return the operations of the array API, for any library and under any tracing."""
    return Operations(
        product=partial(matmul, xp=xp),
        outer=lambda x, y: x * y,
        affine=lambda x, a, b: x + a * b,
        stack_components=lambda x, y: xp.stack([x, y], axis=1),
        sum_components=lambda x: xp.sum(x, axis=1),
        multiply=lambda x, y: x * y,
        divide=lambda x, y: x / y,
        add=lambda x, y: x + y,
        subtract=lambda x, y: x - y,
        maximum=xp.maximum,
        add_product=lambda x, a, b: x + a * b,
        reciprocal=lambda x: 1.0 / x,
        exp=xp.exp,
        log=xp.log,
        log1p=xp.log1p,
        zero_hidden=lambda x, visible: xp.where(visible, x, 0.0),
        norm2=lambda x: xp.sum(x * x, axis=-1, keepdims=True),
        toeplitz=partial(toeplitz, xp=xp),
    )


def in_place(library: Any, windows: Callable[[Array, int], Array], **others: Any) -> Operations:
    """Return the operations of a library whose functions take an argument `out`.

    ``windows(x, m)``: all runs of m entries along the last axis, one row each, as a view.
    `others` are the operations that libraries name differently.
    """

    def onto_first(name: str) -> Callable[..., Array]:
        function = getattr(library, name)
        return lambda x, *y: function(x, *y, out=x)

    return Operations(
        product=lambda x, y, out=None: library.matmul(x, y, out=out),
        outer=lambda x, y, out=None: library.multiply(x, y, out=out),
        stack_components=lambda x, y, out=None: library.stack([x, y], 1, out=out),
        sum_components=lambda x, out=None: library.sum(x, 1, out=out),
        multiply=onto_first("multiply"),
        divide=onto_first("divide"),
        add=onto_first("add"),
        subtract=onto_first("subtract"),
        maximum=onto_first("maximum"),
        reciprocal=onto_first("reciprocal"),
        exp=onto_first("exp"),
        log=onto_first("log"),
        log1p=onto_first("log1p"),
        toeplitz=lambda x, rows, columns: library.flip(windows(x, columns)[:, 0], (1,)),
        writes_out=True,
        **others,
    )
