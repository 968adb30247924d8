"""Decoding steps of one token by compiled loops: which they take, and how arrays reach them.

A step of a few tokens is all overhead: what it needs is checked once for all steps alike, its
parameters are written to one array, and a single compiled call does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from afa_core._array.pairs import largest_square
from afa_core.model.estimates import Estimate
from afa_core.model.sde import IsotropicSDE
from afa_core.model.weighting import Rational, StudentT, Uniform
from afa_numpy.fused.needed import missing

NUMPY: Any = np
MAX_SIGNATURES = 256
"""How many combinations of arguments are known at a time to have passed the checks."""
TIME_LIMIT = 1e15
"""Times beyond it are left to the operations that form differences of integers."""
MIN_SHARED = 1 << 22
"""Cached numbers from which on threads share the heads."""

_checked: set[Any] = set()
NO_MASK: Any = np.empty((1, 1, 0), np.bool_)
NO_PRIOR: Any = np.empty((1, 0, 1))


class NoMemory(Exception):
    """An array has no memory that can be read."""


class Memory(NamedTuple):
    """How the arrays of a library are read and written as NumPy's, in the same memory.

    Parameters
    ----------
    read : callable
        Returns the memory of an array; raises `NoMemory` where there is none.
    write : callable
        Returns an array of the library with the memory of one of NumPy's.
    writable : callable
        ``writable(buffer, leading, slots, capacity)``: a buffer with the same tokens, of which
        these slots, a range, may be written.
    kind : callable
        Returns what checks ask of an array beside its type.
    threads : callable
        Returns how many threads the library may use.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    writable: Callable[..., Any]
    kind: Callable[[Any], tuple[Any, ...]]
    threads: Callable[[], int]


def step(
    arguments: Any, cache: Any, time: Any, check: Callable[..., Any], memory: Memory
) -> tuple[Estimate, Any] | None:
    """Return the estimate at a new token and the cache with it; None where loops do not apply.

    `check` raises the errors of the arguments of a step.
    """
    if missing() or not _applies(arguments, cache, time):
        return None
    signature = _signature(arguments, cache, time, memory)
    if signature is None or signature not in _checked:
        check(arguments, cache, time, None)
        if len(_checked) >= MAX_SIGNATURES:
            _checked.clear()
        _checked.add(signature)
    try:
        return append(arguments, cache, time, memory)
    except NoMemory:
        return None


def _applies(arguments: Any, cache: Any, time: Any) -> bool:
    """Return whether this is a single token of independent keys, with a free slot for it.

    What is no array here, or of a shape that does not fit, is refused by the checks, which come
    later.
    """
    try:
        query, key, value, sde = arguments[:4]
        leading, used = cache.key.shape[:-2], cache.used
        same = {(*x.shape[:-1], x.dtype) for x in (query, key, value)}
        return bool(
            type(sde) is IsotropicSDE
            and not arguments.correlated
            and arguments.query_variance is None
            and arguments.anchor is None
            and cache.influence is None
            and same == {(*leading, 1, cache.key.dtype)}
            and cache.value.shape[:-2] == leading == cache.key2.shape[:-2]
            and isinstance(used, int)
            and used > 0
            and (cache.capacity is None or used < cache.capacity)
            and (time is None or type(time) in (int, float) or _shares(cache, time))
        )
    except (AttributeError, TypeError, RuntimeError, ValueError):
        return False


def _shares(cache: Any, time: Any) -> bool:
    """Return whether times of a single token are of the cached tokens' leading axes."""
    own = cache.times.shape[:-2]
    return time.shape[-1:] == (1,) and np.broadcast_shapes(time.shape[:-1], own) == tuple(own)


def _signature(arguments: Any, cache: Any, time: Any, memory: Memory) -> Any:
    """Return all that the checks depend on: they read no values, but for options."""

    def kind(x: Any) -> Any:
        if isinstance(x, tuple):
            return (type(x), *map(kind, x))
        if x is None or isinstance(x, str | bool):
            return x
        if isinstance(x, int | float):
            return type(x)
        return type(x), *memory.kind(x)

    buffers = cache.key, cache.value, cache.times, cache.visible
    try:
        return kind(tuple(arguments)), arguments.tolerance, kind(time), kind(buffers)
    except AttributeError:
        return None


def append(arguments: Any, cache: Any, time: Any, memory: Memory) -> tuple[Estimate, Any] | None:
    """Append a token that has passed the checks; None where numbers are extreme or not finite."""
    from afa_numpy.fused import step_loops as loops

    leading, read = tuple(cache.key.shape[:-2]), memory.read
    latest, heads = read(cache.latest), prod(leading)
    given_time = _time_of(time, memory)
    if given_time is None:
        return None
    new = latest + 1.0 if time is None else given_time - read(cache.origin)

    def tokens(x: Any) -> Any:
        x = np.ascontiguousarray(read(x)).reshape(heads, x.shape[-1])
        return x if x.flags.writeable else x.copy()  # others would be compiled for anew

    query, key, value = map(tokens, arguments[:3])
    own = cache.times.shape[:-2]
    rows = new if new.shape[:-2] == own else np.broadcast_to(new, (*own, 1, 1)).copy()
    given = loops.StepTokens(query, key, value, rows.reshape(-1))
    model = loops.StepModel(*_parameters(arguments, leading, memory), NO_PRIOR)
    bound = sqrt(largest_square(given.query, xp=NUMPY) / given.query.shape[1])
    if not loops.fits(given, model, bound):
        return None
    phases = loops.Phases(*_phases(arguments, leading, new, given.query.dtype, memory))
    buffers = _writable(cache, memory)
    written = {name: read(x) for name, x in buffers.items()}
    written["times"][..., cache.used, :] = new[..., 0, :]
    slots = loops.Slots(*_slots(written, cache.used, leading))
    *results, magnitude = _run(arguments, given, slots, phases, model, cache.used, memory.threads())
    if not np.all(magnitude < np.inf):  # a key or a time of the cache, which the loops pass over
        return None
    mean, precision = (memory.write(x.reshape(*leading, *x.shape[1:])) for x in results)
    newest = new if time is None else np.maximum(latest, new)
    fields = {**buffers, "used": cache.used + 1, "latest": memory.write(newest)}
    return Estimate(mean, precision), cache._replace(**fields)


def _time_of(time: Any, memory: Memory) -> Any:
    """Return floating times in the shape of those cached, None where they are extreme or whole."""
    if not isinstance(time, int | float | None):
        time = memory.read(time)[..., None]
        if time.dtype.kind != "f":
            return None
    time = np.asarray(0.0 if time is None else time, np.float64)
    return time if np.all(np.abs(time) < TIME_LIMIT) else None


def _writable(cache: Any, memory: Memory) -> dict[str, Any]:
    """Return the buffers of a cache, of which the next slot may be written."""
    names = ("key", "value", "key2", "times", *(("visible",) if cache.visible is not None else ()))
    own = {name: getattr(cache, name) for name in names}
    slots = range(cache.used, cache.used + 1)
    return {
        name: memory.writable(x, x.shape[:-2], slots, cache.capacity) for name, x in own.items()
    }


def _slots(written: dict[str, Any], used: int, leading: tuple[int, ...]) -> tuple[Any, ...]:
    """Return buffers as loops take them: of heads in one axis; the new token is visible."""
    heads, times, visible = prod(leading), written["times"], written.get("visible")
    key, value, key2 = (
        written[name].reshape(heads, -1, written[name].shape[-1])
        for name in ("key", "value", "key2")
    )
    mask, shown = NO_MASK, ()
    if visible is not None:
        visible[..., used, :] = True
        shown = visible.shape[:-2]
        mask = visible.reshape(prod(shown), 1, -1)
    own = times.shape[:-2]
    times = times.reshape(prod(own), -1)
    return key, value, key2[..., 0], times, mask, _rows(own, leading), _rows(shown, leading)


def _run(
    arguments: Any, given: Any, slots: Any, phases: Any, model: Any, used: int, threads: int
) -> tuple[Any, Any, Any]:
    """Return the mean, (g, 1, 2d_v), the precision, (g, 1), and magnitudes, (g,)."""
    from afa_numpy.fused import step_loops as loops
    from afa_numpy.fused.problem import WEIGHTINGS, IsotropicFlags
    from afa_numpy.fused.threads import run_jobs

    beta, weighting = arguments.inverse_temperature, WEIGHTINGS[type(arguments.weighting)]
    has_temperature = not (isinstance(beta, int | float) and beta == 1.0)
    flags = IsotropicFlags(True, False, weighting, -1, 0, has_temperature, 1, 0.0)
    (heads, width), dtype = given.value.shape, given.query.dtype
    paired, sums = arguments.layout == "interleaved", (heads, 1, 1)
    of_sums = (np.empty(sums, dtype) for _ in range(3))
    results = np.empty((heads, 1, width), dtype), *of_sums, np.zeros(heads, dtype)

    def work(first: int, last: int) -> None:
        loops.step_jobs(given, slots, phases, model, flags, paired, used, first, last, results)

    if threads > 1 and heads * (used + 1) * width > MIN_SHARED:
        run_jobs(threads, heads, work)
    else:
        work(0, heads)
    return results[0], results[1][..., 0], results[4]


def _parameters(arguments: Any, leading: tuple[int, ...], memory: Memory) -> tuple[Any, Any]:
    """Return μ, σ², η², γ², ν_s and β of all heads, and c."""
    sde, weighting, modes = arguments.sde, arguments.weighting, arguments.query.shape[-1] // 2
    found = np.empty((6, *leading))
    dof = getattr(weighting, "dof", 1.0)
    for row, x in enumerate((sde.decay, *sde.noise, dof, arguments.inverse_temperature)):
        found[row] = _array(x, memory)
    found = found.reshape(6, -1)
    if isinstance(weighting, Uniform):
        return found, np.zeros(found.shape[1])
    divisor = found[4] if isinstance(weighting, StudentT | Rational) else np.ones(found.shape[1])
    return found, 1.0 / (modes * divisor)


def _phases(
    arguments: Any, leading: tuple[int, ...], times: Any, dtype: Any, memory: Memory
) -> tuple[Any, ...]:
    """Return cos ωt and sin ωt of keys and of values, in one row if they are those of all heads."""
    sde = arguments.sde
    modes, value_modes = (x.shape[-1] // 2 for x in (arguments.key, arguments.value))

    def of(frequency: Any, count: int) -> tuple[Any, Any]:
        angle = _array(frequency, memory) * times[..., 0]  # (..., d)
        if angle.shape[-1] != count or angle.size != count:
            own = (1,) * (angle.ndim - 1) if angle.size == angle.shape[-1] else leading
            angle = np.broadcast_to(angle, (*own, count))
        angle = angle.reshape(-1, count)
        return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)

    both = of(sde.frequency, modes)
    if sde.value_frequency is None or sde.value_frequency is sde.frequency:
        return *both, *both
    return *both, *of(sde.value_frequency, value_modes)


def _array(x: Any, memory: Memory) -> Any:
    return x if isinstance(x, int | float) else memory.read(x)


@lru_cache(maxsize=64)
def _rows(own: tuple[int, ...], leading: tuple[int, ...]) -> Any:
    """Return which row of times, or of a mask, each head has."""
    rows = np.arange(prod(own)).reshape(own)
    return np.array(np.broadcast_to(rows, leading)).reshape(-1)
