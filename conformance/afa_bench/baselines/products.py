"""The floor under any exact attention: the two matrix products alone, on causal tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afa_bench.candidates import Rival, Task
from afa_bench.setting import Setting
from afa_core._array.arrays import namespace

TILE = 512  # of 128 to 1024 the fastest on the machines tried


def products(query: Any, key: Any, value: Any, *, columns: int | None = TILE) -> Any:
    """Return Σ_j (q_i·k_j) v_j over the tiles at or below the diagonal, (..., n, c).

    Nothing happens between the two products: no weight, no mask, no normaliser. Tiles on the
    diagonal count in full.

    Parameters
    ----------
    query, key, value : array, shape (..., n, c)
    columns : int or None
        Width of a tile of `TILE` rows; None for all keys up to the rows' last.
    """
    xp: Any = namespace(query=query)
    tokens, panels = query.shape[-2], []
    for top in range(0, tokens, TILE):
        stop = min(top + TILE, tokens)
        rows, total = query[..., top:stop, :], 0.0
        for left in range(0, stop, columns or stop):
            right = min(left + (columns or stop), stop)
            scores = xp.matmul(rows, xp.matrix_transpose(key[..., left:right, :]))
            total = total + xp.matmul(scores, value[..., left:right, :])
        panels.append(total)
    return xp.concat(panels, axis=-2)


def rival(run: Callable[[Any, Any, Any], Any] = products) -> Rival:
    """Return the rival "products" as a library computes it best."""

    def prepare(task: Task) -> Any:
        return task.call(run, tuple(task.inputs[:3]))

    return Rival("products", "the two matrix products alone, causal tiles", _refusal, prepare)


def _refusal(setting: Setting) -> str:
    if setting.case != "attention":
        return "stands for attention over a sequence only"
    return "stands for the forward pass only" if setting.backward else ""
