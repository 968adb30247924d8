"""Consecutive heads of the arrays of a step, as views of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, is_number
from afa_core.decoding.forms import KeyVisibility, ModelSpec, Queries, Tokens
from afa_core.decoding.weights import WeightSpec
from afa_core.model.sde import DiagonalSDE


class Heads(NamedTuple):
    """A range along a leading axis, the last of which is 1, the one before it 2."""

    places: slice
    axis: int

    def of(self, x: Any, trailing: int = 2) -> Any:
        """Return these heads of an array with trailing axes, or of all arrays of a tuple."""
        if isinstance(x, tuple):
            parts = [self.of(each, trailing) for each in x]
            return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
        axis = trailing + self.axis
        if x is None or is_number(x) or x.ndim < axis or x.shape[-axis] == 1:
            return x
        return x[(..., self.places, *[slice(None)] * (axis - 1))]

    def replaced(self, whole: Array, part: Array, *, xp: Namespace) -> Array:
        """Return an array (..., n, c) with a part in the place of these heads."""
        axis = 2 + self.axis
        if part.shape == whole.shape:
            return part
        before, after = slice(None, self.places.start), slice(self.places.stop, None)
        first, last = (self._replace(places=each).of(whole) for each in (before, after))
        return xp.concat([first, part, last], axis=-axis)

    def of_problem(
        self, queries: Queries, tokens: Tokens, visibility: KeyVisibility, spec: ModelSpec
    ) -> tuple[Queries, Tokens, KeyVisibility, ModelSpec]:
        """Return the arguments of `evaluate` for these heads."""
        modes = 1 if isinstance(spec.sde, DiagonalSDE) else 0
        variance = self.of(queries.variance, 1 + modes)
        queries = self.of(queries._replace(variance=None))._replace(variance=variance)
        visibility = visibility._replace(visible=self.of(visibility.visible))
        names = [name for name in spec.sde._fields if not name.endswith("frequency")]
        sde = spec.sde._replace(**{name: self.of(getattr(spec.sde, name), modes) for name in names})
        weighting, beta, number = spec.weight
        weight = WeightSpec(self.of(weighting, 0), self.of(beta, 0), number)
        return queries, self.of(tokens), visibility, spec._replace(sde=sde, weight=weight)
