"""Attention by compiled tiles, forward and backward: blocks of queries are jobs of threads."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_numpy.fused.compiled import announce_compilation, compiled_on_disk, sources
from afa_numpy.fused.forms import backward_block, forward_block, prepare_head
from afa_numpy.fused.lag_gradients import Gradients
from afa_numpy.fused.problem import Arrays, Flags, arrays_of, flags_of
from afa_numpy.fused.threads import run_jobs


class Prepared(NamedTuple):
    """What the blocks of a head share."""

    finite: Any  # whether its tokens and times are, and have squares, (g,)
    powers: Any  # whether weights are integer powers, (g,)
    units: Any  # of weights, (g,)
    far: Any  # log-weights of the keys up to each, and from each on, (g, m, 2, s or 2s)


class Run(NamedTuple):
    """A problem in compiled loops, with the number of their threads."""

    arrays: Arrays
    flags: Flags
    prepared: Prepared
    threads: int

    @property
    def finite(self) -> bool:
        """Whether no hidden token can make a visible row NaN."""
        return bool(np.all(self.prepared.finite))


def prepare(operands: Operands, static: StaticProblem, size: int, threads: int) -> Run:
    """Bring a problem into the form of compiled loops, with tiles of a size."""
    arrays, flags = arrays_of(operands, static), flags_of(static, size)
    heads = arrays.query.shape[0]
    dtype, keys = arrays.query.dtype, arrays.key.shape[1]
    totals = arrays.process.shape[1] * (2 if flags.has_temperature else 1)
    prepared = Prepared(
        np.empty(heads, np.bool_),
        np.empty(heads, np.bool_),
        np.empty(heads, dtype),
        np.empty((heads, keys if flags.tolerance else 0, 2, totals)),
    )
    largest = float(np.finfo(dtype).max)

    def work(first: int, last: int) -> None:
        _prepare(arrays, flags, largest, prepared, first, last)

    run_jobs(threads, heads, work)
    return Run(arrays, flags, prepared, threads)


def forward(run: Run) -> tuple[StreamResult, Any]:
    """Return the estimates, and the number of pairs in the tiles of each head."""
    arrays, flags, prepared, threads = run
    heads, queries, _ = arrays.query.shape
    dtype, components = arrays.query.dtype, arrays.process.shape[1]
    estimates = components // arrays.decay.shape[1]  # of all modes
    mean = np.empty((heads, queries, estimates * arrays.value.shape[2]), dtype)
    results = (mean, *(np.empty((heads, queries, components), dtype) for _ in range(3)))
    blocks = _blocks(queries, flags.size)
    jobs = _table([(h, *block) for block in blocks for h in range(heads)], 3)
    pairs = np.zeros(len(jobs), np.int64)

    def work(first: int, last: int) -> None:
        _forward(arrays, flags, prepared, jobs, first, last, results, pairs)

    run_jobs(threads, len(jobs), work)
    visited = np.sum(pairs.reshape(len(blocks), heads), axis=0)
    return StreamResult(*results), visited


def backward(run: Run, result: StreamResult, grad_mean: Any, grad_precision: Any) -> Gradients:
    """Return the gradients, those of keys in as many parts as keep all threads busy."""
    arrays, flags, prepared, threads = run
    heads, queries, _ = arrays.query.shape
    blocks = _blocks(queries, flags.size)
    parts = min(_parts(heads, threads), max(len(blocks), 1))
    edges = _edges(len(blocks), parts, causal=flags.causal)
    jobs = _table([(h, p, *edges[p : p + 2]) for p in range(parts) for h in range(heads)], 4)
    found = _no_gradients(arrays, flags, parts)
    results = tuple(map(np.ascontiguousarray, result))
    given = np.ascontiguousarray(grad_mean), np.ascontiguousarray(grad_precision)

    def work(first: int, last: int) -> None:
        rows = _table(blocks, 2)
        _backward(arrays, flags, prepared, results, given, found, jobs, rows, first, last)

    run_jobs(threads, len(jobs), work)
    return found


def _entry_points(digest: str) -> tuple[Any, Any, Any]:
    """Return the loops over jobs, compiled for the sources of a digest."""

    @compiled_on_disk
    def prepare_heads(
        arrays: Any, flags: Any, largest: float, prepared: Any, first: int, last: int
    ) -> int:
        for h in range(first, last):
            prepare_head(arrays, flags, largest, prepared, h)
        return len(digest)

    @compiled_on_disk
    def forward_jobs(
        arrays: Any, flags: Any, prepared: Any, jobs: Any, first: int, last: int, results: Any,
        pairs: Any,
    ) -> int:  # fmt: skip
        for job in range(first, last):
            h, i0, i1 = jobs[job]
            pairs[job] = forward_block(arrays, flags, prepared, h, i0, i1, results)
        return len(digest)

    @compiled_on_disk
    def backward_jobs(
        arrays: Any, flags: Any, prepared: Any, results: Any, given: Any, found: Any, jobs: Any,
        blocks: Any, first: int, last: int,
    ) -> int:  # fmt: skip
        for job in range(first, last):
            h, part, start, stop = jobs[job]
            for block in range(start, stop):
                i0, i1 = blocks[block]
                backward_block(arrays, flags, prepared, results, given, found, part, h, i0, i1)
        return len(digest)

    return prepare_heads, forward_jobs, backward_jobs


_prepare, _forward, _backward = _entry_points(sources())
announce_compilation({_forward, _backward})


def _blocks(queries: int, size: int) -> list[tuple[int, int]]:
    """Return the first query of each block and the one after its last; the last blocks first."""
    return [(start, min(start + size, queries)) for start in reversed(range(0, queries, size))]


def _table(rows: Sequence[Sequence[int]], width: int) -> Any:
    return np.asarray(rows, dtype=np.int64).reshape(-1, width)


def _parts(heads: int, threads: int) -> int:
    """Return how many parts of each head make as many jobs for every thread, or enough of them."""
    enough = (p for p in itertools.count(1) if p * heads >= 2 * threads or p * heads % threads == 0)
    return next(enough)


def _edges(blocks: int, parts: int, *, causal: bool) -> list[int]:
    """Return where parts of the blocks begin and end, each with about as many pairs."""
    sizes = np.cumsum(np.arange(blocks, 0, -1) if causal else np.ones(blocks))
    shares = [np.searchsorted(sizes, sizes[-1] * part / parts) for part in range(1, parts)]
    return [0, *map(int, shares), blocks]


def _no_gradients(arrays: Arrays, flags: Flags, parts: int) -> Gradients:
    """Return gradients that are zero."""
    (heads, queries, _), keys = arrays.query.shape, arrays.key.shape[1]
    dtype, components = arrays.query.dtype, arrays.process.shape[1]
    return Gradients(
        query=np.zeros_like(arrays.query),
        query_times=np.zeros((heads, queries)),
        query_noise=np.zeros(arrays.query_noise.shape, dtype),
        query_level=np.zeros(arrays.query_level.shape),
        missing=np.zeros(arrays.missing.shape),
        key=np.zeros((parts, *arrays.key.shape), dtype),
        value=np.zeros((parts, *arrays.value.shape), dtype),
        key_times=np.zeros((parts, heads, keys)),
        key_level=np.zeros((parts, *arrays.key_level.shape)),
        parameters=np.zeros((parts, heads, 5, components)),
    )


def grads_of(found: Gradients, operands: Any) -> Operands:
    """Return gradients in the shapes and dtypes of the operands."""
    key, value, key_times, key_level, parameters = (
        functools.reduce(np.ndarray.__iadd__, x) for x in found[5:]
    )
    noise: Any = np.sum(found.query_noise, axis=1, keepdims=True, dtype=np.float64)
    own = found.query_noise
    if operands.query_variance.shape[-1]:
        noise = np.zeros_like(noise)
    else:
        own = own[:, :0]
    decay, process, measurement, *shared = np.moveaxis(parameters, 1, 0)
    dof, inverse_temperature = (np.sum(x, axis=-1) for x in shared)
    heads, components = decay.shape
    groups = operands.decay.shape[-1]
    decay = np.sum(decay.reshape(heads, components // groups, groups), axis=1)
    ordered: Any = Operands(
        query=found.query,
        key=key,
        value=value,
        query_times=found.query_times,
        key_times=key_times,
        decay=decay,
        process=process,
        measurement=measurement,
        query_noise=noise,
        dof=dof,
        inverse_temperature=inverse_temperature,
        query_variance=own,
        query_level=found.query_level,
        key_level=key_level,
        missing=found.missing,
    )
    return Operands(
        *(
            x.reshape(operand.shape).astype(operand.dtype, copy=False)
            for x, operand in zip(ordered, operands, strict=True)
        )
    )
