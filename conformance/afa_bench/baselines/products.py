"""The two matrix products of exact attention on causal tiles: a lower bound of its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afa_bench.candidates import Baseline, Call, Task
from afa_bench.setting import Setting
from afa_core._array.arrays import namespace

TILE = 512  # the fastest of 128 to 1024 on the machines that were measured


def products(query: Any, key: Any, value: Any, *, columns: int | None = TILE) -> Any:
    """Return Σ_j (q_i·k_j) v_j over the tiles at or below the diagonal, (..., n, c).

    There are no weights, no mask and no normaliser. Tiles on the diagonal are computed in full.

    Parameters
    ----------
    query, key, value : array, shape (..., n, c)
    columns : int or None
        Width of a tile of `TILE` rows; None for all keys up to the last of the rows.
    """
    xp: Any = namespace(query=query)
    tokens, blocks = query.shape[-2], []
    for top in range(0, tokens, TILE):
        stop = min(top + TILE, tokens)
        rows, total = query[..., top:stop, :], 0.0
        for left in range(0, stop, columns or stop):
            right = min(left + (columns or stop), stop)
            scores = xp.matmul(rows, xp.matrix_transpose(key[..., left:right, :]))
            total = total + xp.matmul(scores, value[..., left:right, :])
        blocks.append(total)
    return xp.concat(blocks, axis=-2)


def baseline(run: Callable[[Any, Any, Any], Any] = products) -> Baseline:
    """Return the baseline "products", computed by `run`."""

    def prepare(task: Task) -> Call:
        return task.call(run, tuple(task.inputs[:3]))

    title = "the two matrix products alone, causal tiles"
    return Baseline("products", title, _unsupported, prepare)


def _unsupported(setting: Setting) -> str:
    if setting.case != "attention":
        return "is a lower bound of attention over a sequence only"
    return "is a lower bound of the forward pass only" if setting.backward else ""
