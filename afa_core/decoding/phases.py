"""Tokens turned to time zero of a frame and back, and the sums over keys written for the caller."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array import pairs
from afa_core._array.arrays import Array, DType, Namespace, Parameter, complex_dtype, insert_axes
from afa_core._array.pairs import Layout, Pair, conjugate, multiply, pack, unpack
from afa_core.decoding.forms import Sums
from afa_core.decoding.merging import PartialAttention
from afa_core.model.sde import RadialTangential


def phase(frequency: Parameter, times: Array, dtype: DType, *, xp: Namespace) -> Pair:
    """Return e^{iωt} of a column of times, (..., n, d), formed in the dtype of the times."""
    return pairs.phase(insert_axes(frequency, 1) * times, dtype, xp=xp)


def value_phase(sde: Any, by: Pair, times: Array, *, xp: Namespace) -> Pair:
    """Return e^{iω_v t}, which is `by`, e^{iωt}, unless values turn at frequencies of their own."""
    own = getattr(sde, "value_frequency", sde.frequency)
    return by if own is sde.frequency else phase(own, times, by.real.dtype, xp=xp)


def turned_back(modes: Pair, by: Pair, *, xp: Namespace) -> Array:
    """Return e^{−iωt} ⊙ z, packed."""
    return pack(multiply(modes, conjugate(by)), xp=xp)


class Writing(NamedTuple):
    """How sums over keys become the state that the caller is given."""

    forward: Pair  # e^{iω_v t} of the queries, (..., n, d_v)
    anchor: Pair | None  # of the radial–tangential form, (..., n, d_v)
    per_mode: bool
    layout: Layout
    dtype: DType  # of values

    def state(self, sums: Any, *, xp: Namespace) -> Any:
        """Turn what is carried to the times of the queries; cut it to its direction of two."""
        if not isinstance(sums, RadialTangential):
            return self._one(sums, multiply(unpack(sums.carried), self.forward), xp=xp)
        assert self.anchor is not None
        radial, tangential = (multiply(unpack(each.carried), self.forward) for each in sums)
        along = pairs.project(radial, self.anchor, xp=xp)
        beside = pairs.project(tangential, self.anchor, xp=xp)
        return RadialTangential(
            self._one(sums.radial, along, xp=xp),
            self._one(sums.tangential, pairs.subtract(tangential, beside), xp=xp),
        )

    def _one(self, sums: Sums, carried: Pair, *, xp: Namespace) -> PartialAttention:
        real = carried.real.dtype
        whole = xp.isdtype(self.dtype, "complex floating")
        array = pairs.join(carried, self.layout, complex_dtype(xp, real) if whole else real, xp=xp)
        peak, total, precision = sums.peak, sums.total, sums.precision
        tokens = array.shape[:-1]
        if not self.per_mode:
            return PartialAttention(peak, total, array, xp.broadcast_to(precision[..., 0], tokens))
        precision = xp.broadcast_to(precision, (*tokens, precision.shape[-1]))
        if not whole:
            peak, total = (pairs.join(Pair(x, x), self.layout, real, xp=xp) for x in (peak, total))
        return PartialAttention(peak, total, array, precision)
