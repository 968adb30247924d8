"""Phases e^{iωt} of tokens since the reference time, and their inverse rotation."""

from __future__ import annotations

from afa_core._array import pairs
from afa_core._array.arrays import Array, DType, Namespace, Parameter, insert_axes
from afa_core._array.pairs import Pair, conjugate, multiply, pack
from afa_core.model.sde import SDE


def token_phases(frequency: Parameter, times: Array, dtype: DType, *, xp: Namespace) -> Pair:
    """Return e^{iωt}, (..., n, d), of times (..., n, 1), in whose dtype the angles are formed."""
    return pairs.phase(insert_axes(frequency, 1) * times, dtype, xp=xp)


def value_phases(sde: SDE, phases: Pair, times: Array, *, xp: Namespace) -> Pair:
    """Return e^{iω_v t}: the `phases` e^{iωt} unless values have frequencies of their own."""
    frequency = getattr(sde, "value_frequency", sde.frequency)
    if frequency is sde.frequency:
        return phases
    return token_phases(frequency, times, phases.real.dtype, xp=xp)


def unrotate(modes: Pair, phases: Pair, *, xp: Namespace) -> Array:
    """Return e^{−iωt} ⊙ z, packed."""
    return pack(multiply(modes, conjugate(phases)), xp=xp)
