"""What the tiles of every form have in common, on the way there and on the way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, Generic, NamedTuple, TypeVar, cast

from afa_core._array.arrays import Array, Namespace
from afa_core.model.weighting import Uniform
from afa_core.streaming.backward.accumulator import Gather
from afa_core.streaming.blocks import Step
from afa_core.streaming.lags import Lagged, lagged
from afa_core.streaming.operands import Fixed, Norms, Operands
from afa_core.streaming.operations import Operations, Rooms


def between(rows: Any, columns: Any) -> tuple[Any, ...]:
    """Return what tells, on a regular grid, the lag from the frame of a tile to a panel."""
    return "between", rows.start - columns.start, len(rows), len(columns)


class Given(NamedTuple):
    """What the tiles of an evaluation are made of."""

    o: Operands
    fixed: Fixed
    norms: Norms
    ops: Operations
    powers: bool  # whether weights may be integer powers
    xp: Namespace


class Tiles:
    """The tiles of one evaluation, by integer powers or through logarithms."""

    def __init__(self, given: Given) -> None:
        self.o, self.fixed, self.norms, self.ops, powers, self.xp = given
        self.power = self.fixed.power if powers else 0
        self.residual = (
            self.fixed.weighting is not Uniform
        )  # whether weights depend on the residual
        self.kept: dict[Any, Any] = {}
        self.rooms = Rooms(self.ops)

    def keep(self, own: Any, make: Callable[[], Any]) -> Any:
        """Make something once, or every time where nothing is kept."""
        if not self.ops.keeps:
            return make()
        if own not in self.kept:
            self.kept[own] = make()
        return self.kept[own]

    def keep_last(self, name: str, own: Any, make: Callable[[], Any]) -> Any:
        """Keep the last thing of a name, and make another where it is asked for."""
        if not self.ops.keeps:
            return make()
        if self.kept.get(name, (None, None))[0] != own:
            self.kept[name] = own, make()
        return self.kept[name][1]

    def forget(self, seen: Collection[Step]) -> None:
        """Let go of tiles of keys that are not seen; none is once a panel does not see it."""
        for own in [own for own in self.kept if isinstance(own, Step) and own not in seen]:
            del self.kept[own]

    def lagged(self, lag: Array, decay: Array, own: Any) -> Lagged:
        """Evaluate E and V of lags; on a regular grid once for all that `own` tells."""

        def make() -> Lagged:
            return lagged(lag, decay, xp=self.xp)

        return cast(Lagged, self.keep(own, make)) if self.fixed.regular else make()

    def lag(self, rows: Any, columns: Any) -> Array:
        """Return t_i − t_j of a tile, (g, n, m), in the widest dtype."""
        ops = self.ops
        key_times = self.xp.matrix_transpose(ops.cut(self.o.key_times, columns))
        return ops.cut(self.o.query_times, rows) - key_times

    def narrow(self, x: Array) -> Array:
        """Cast to the dtype of tokens."""
        return self.xp.astype(x, self.o.query.dtype, copy=False)


AnyTiles = TypeVar("AnyTiles", bound=Tiles)


class Back(ABC, Generic[AnyTiles]):
    """Derivatives of the tiles of one evaluation, a panel of queries at a time."""

    def __init__(self, it: AnyTiles, gather: Gather) -> None:
        self.it, self.gather, self.ops, self.xp = it, gather, it.ops, it.xp
        self.framed: dict[Step, tuple[Any, list[Array]]] = {}

    @abstractmethod
    def _keys(self, step: Step, keys: Any, by: list[Array]) -> None:
        """Go back from the factors of a tile of keys to its tokens."""

    def _gather_keys(self, step: Step, keys: Any, by: list[Array]) -> None:
        """Take derivatives in the factors of a tile of keys, which other panels may see too."""
        if not self.ops.keeps:
            self._keys(step, keys, by)
            return
        if step not in self.framed:
            self.framed[step] = keys, [x + 0.0 for x in by]
            return
        by = [self.ops.add(x, y) for x, y in zip(self.framed[step][1], by, strict=True)]
        self.framed[step] = keys, by

    def finish(self, seen: Collection[Step] = ()) -> None:
        """Take back the keys of tiles that panels saw, all but those that are still seen."""
        for step in [step for step in self.framed if step not in seen]:
            self._keys(step, *self.framed.pop(step))
        self.it.forget(seen)

    def _wide(self, x: Array) -> Array:
        """Return a derivative in times, (g, tokens), as a column in their dtype."""
        return self.xp.astype(x, self.it.o.key_times.dtype, copy=False)[..., None]
