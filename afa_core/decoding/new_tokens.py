"""New tokens of a cache: their leading axes, and their rotation to its reference time."""

from __future__ import annotations

from collections.abc import Iterator

from afa_core._array.arrays import Array, Namespace, shape_of, with_rank
from afa_core._array.pairs import Pair, bounded_modes, norm2
from afa_core._checks.parameters import aligned
from afa_core._checks.times import within_range
from afa_core.decoding.arguments import NewTokens
from afa_core.decoding.forms import Tokens
from afa_core.decoding.leading_axes import with_axes
from afa_core.decoding.phases import token_phases, unrotate, value_phases
from afa_core.decoding.times import ReferenceTime, given_times, regular_times
from afa_core.model.sde import SDE, DiagonalSDE, parameters_of


def axes_of(new: NewTokens, *, correlated: bool) -> int:
    """Return how many leading axes the cache of some tokens has."""
    given = (*new.key, *new.value, new.times, new.visible)
    own = [x.ndim - 2 for x in given if x is not None]
    return max(*own, *_parameter_axes(new.sde, correlated=correlated))


def _parameter_axes(sde: SDE, *, correlated: bool) -> Iterator[int]:
    """Yield the number of leading axes of the parameters that a cache depends on."""
    for name, x in parameters_of(sde).items():
        rotates = name.endswith("frequency")
        if rotates or (correlated and not name.endswith(".query")):
            modes = rotates or isinstance(sde, DiagonalSDE)
            yield max(len(shape_of(x)) - modes, 0)


def with_leading(new: NewTokens, leading: int) -> NewTokens:
    """Return tokens whose arrays have so many leading axes."""
    key, value = (Pair(*(with_rank(x, leading + 2) for x in each)) for each in new[:2])
    times, visible = (with_axes(x, leading + 2) for x in new[2:4])
    return NewTokens(key, value, times, visible, aligned(new.sde, leading))


def times_since(
    reference: ReferenceTime, new: NewTokens, *, xp: Namespace
) -> tuple[Array, ReferenceTime]:
    """Return the times of new tokens since the reference time of a cache, and that after them."""
    if new.times is None:
        return regular_times(reference, new.key.real.shape[-2], xp=xp)
    times, reference = given_times(reference, new.times, new.visible, xp=xp)
    return within_range(times, new.key.real.dtype, xp=xp), reference


def rotated(new: NewTokens, times: Array, *, xp: Namespace) -> Tokens:
    """Rotate keys and values to the reference time; hidden tokens get time zero."""
    sde, dtype = new.sde, new.key.real.dtype
    if new.visible is not None:
        times = xp.where(new.visible, times, 0.0)
    phases = token_phases(sde.frequency, times, dtype, xp=xp)
    modes = bounded_modes(new.key, xp=xp)
    key = unrotate(modes, phases, xp=xp)
    value = unrotate(new.value, value_phases(sde, phases, times, xp=xp), xp=xp)
    return Tokens(key, value, norm2(modes, xp=xp)[..., None], times)


def visible_or_all(visible: Array | None, times: Array, *, xp: Namespace) -> Array:
    """Return which tokens are keys, by default all, with the leading axes of their times too."""
    every = xp.ones_like(times, dtype=xp.bool)
    return every if visible is None else xp.logical_and(visible, every)
