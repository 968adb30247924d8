"""From sums over keys to the partial state that is returned to the caller."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array import pairs
from afa_core._array.arrays import Array, DType, Namespace, complex_dtype
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

    def at_queries(self, estimate: Array, *, xp: Namespace) -> Array:
        """Rotate estimates (..., n, 2d_v) to the times of the queries."""
        return self._joined(multiply(unpack(estimate), self.phases), xp=xp)

    def _joined(self, modes: Pair, *, xp: Namespace) -> Array:
        """Return modes in the layout of values."""
        real = modes.real.dtype
        is_complex = xp.isdtype(self.dtype, "complex floating")
        dtype = complex_dtype(xp, real) if is_complex else real
        return pairs.join(modes, self.layout, dtype, xp=xp)

    def _packed(self, sums: KeySums, carried: Pair, *, xp: Namespace) -> PartialAttention:
        """Return the state with its carried values in the layout of values."""
        array = self._joined(carried, xp=xp)
        peak, total, precision = sums.peak, sums.total, sums.precision
        tokens = array.shape[:-1]
        if not self.per_mode:
            return PartialAttention(peak, total, array, xp.broadcast_to(precision[..., 0], tokens))
        precision = xp.broadcast_to(precision, (*tokens, precision.shape[-1]))
        if not xp.isdtype(self.dtype, "complex floating"):
            peak, total = (
                pairs.join(Pair(x, x), self.layout, x.dtype, xp=xp) for x in (peak, total)
            )
        return PartialAttention(peak, total, array, precision)
