"""From sums over keys to the partial state that is returned to the caller."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array import pairs
from afa_core._array.arrays import DType, Namespace, complex_dtype
from afa_core._array.pairs import Layout, Pair, multiply, unpack
from afa_core.decoding.forms import KeySums
from afa_core.decoding.merging import Partial, PartialAttention
from afa_core.model.sde import RadialTangential


class OutputSpec(NamedTuple):
    """The rotation, the direction and the layout of the output of a set of queries."""

    phases: Pair  # e^{iω_v t} of the queries, (..., n, d_v)
    anchor: Pair | None  # of the radial–tangential form, (..., n, d_v)
    per_mode: bool  # whether every mode has sums of its own
    layout: Layout
    dtype: DType  # of values

    def partial_state(self, sums: KeySums | RadialTangential, *, xp: Namespace) -> Partial:
        """Rotate the carried values to the times of the queries.

        In the radial–tangential form, also project them: the radial sums on the anchor, the
        tangential sums on its complement.
        """
        if not isinstance(sums, RadialTangential):
            return self._packed(sums, multiply(unpack(sums.carried), self.phases), xp=xp)
        assert self.anchor is not None
        radial, tangential = (multiply(unpack(each.carried), self.phases) for each in sums)
        along = pairs.project(radial, self.anchor, xp=xp)
        across = pairs.subtract(tangential, pairs.project(tangential, self.anchor, xp=xp))
        return RadialTangential(
            self._packed(sums.radial, along, xp=xp), self._packed(sums.tangential, across, xp=xp)
        )

    def _packed(self, sums: KeySums, carried: Pair, *, xp: Namespace) -> PartialAttention:
        """Return the state with its carried values in the layout of values."""
        real = carried.real.dtype
        is_complex = xp.isdtype(self.dtype, "complex floating")
        dtype = complex_dtype(xp, real) if is_complex else real
        array = pairs.join(carried, self.layout, dtype, xp=xp)
        peak, total, precision = sums.peak, sums.total, sums.precision
        tokens = array.shape[:-1]
        if not self.per_mode:
            return PartialAttention(peak, total, array, xp.broadcast_to(precision[..., 0], tokens))
        precision = xp.broadcast_to(precision, (*tokens, precision.shape[-1]))
        if not is_complex:
            peak, total = (pairs.join(Pair(x, x), self.layout, real, xp=xp) for x in (peak, total))
        return PartialAttention(peak, total, array, precision)
