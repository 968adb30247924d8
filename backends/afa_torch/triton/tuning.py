"""The blocks of each kernel: the fastest of a few, measured at the first large problem of its kind.

What was found is kept with the compiled kernels of Triton, so that a machine measures once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import triton
from triton.runtime.cache import get_cache_manager
from triton.runtime.errors import OutOfResources

from afa_torch.triton.arguments import Flags


class Blocks(NamedTuple):
    """Queries and keys of a tile, warps of a program, stages of its loads."""

    queries: int
    keys: int
    warps: int
    stages: int


Candidates = dict[str, tuple[Blocks, ...]]

NARROW: Candidates = {
    "forward": (Blocks(128, 64, 8, 3), Blocks(64, 128, 4, 2), Blocks(64, 64, 4, 3)),
    "queries": (Blocks(64, 64, 4, 2), Blocks(128, 64, 8, 2), Blocks(64, 32, 4, 2)),
    "keys": (Blocks(64, 64, 4, 2), Blocks(64, 128, 8, 2), Blocks(32, 64, 4, 2)),
}
WIDE: Candidates = {
    "forward": (Blocks(128, 64, 8, 3), Blocks(64, 128, 4, 2), Blocks(64, 64, 4, 2)),
    "queries": (Blocks(128, 64, 8, 2), Blocks(64, 64, 4, 2), Blocks(64, 32, 4, 1)),
    "keys": (Blocks(32, 128, 8, 2), Blocks(64, 64, 4, 2), Blocks(32, 64, 4, 1)),
}
BOTH: Candidates = {
    "both forward": (Blocks(128, 32, 8, 2), Blocks(64, 32, 4, 2), Blocks(64, 16, 4, 1)),
    "both queries": (Blocks(64, 32, 4, 2), Blocks(64, 16, 4, 1)),
    "both keys": (Blocks(32, 64, 4, 2), Blocks(16, 64, 4, 1)),
}
FULL: Candidates = {
    "forward": (Blocks(64, 32, 8, 2), Blocks(32, 32, 4, 1)),
    "queries": (Blocks(32, 32, 8, 1), Blocks(16, 32, 4, 1)),
    "keys": (Blocks(32, 32, 8, 1), Blocks(32, 16, 4, 1)),
}
"""Candidates for tokens of at most 64 channels, for wider ones, and in single precision; those of
kernels of two components.

The first is the default, the last the smallest.
"""
FEW = Blocks(16, 64, 4, 3)
"""Blocks of the forward for so few queries, as in decoding."""
WORTH_MEASURING = 1024
"""Queries below which the first candidate is taken."""

_known: dict[str, Blocks] = {}


class Problem(Protocol):
    """A problem as kernels take it."""

    @property
    def flags(self) -> Flags:
        """What kernels are compiled for, but for blocks."""

    @property
    def tokens(self) -> Any:
        """Tokens of queries, (g, n, 2d)."""

    @property
    def by_powers(self) -> Any:
        """The problem of the heads whose weights are powers, if any are; others are rare."""


def run_fastest(
    kernel: str, problem: Problem, most: int, run: Callable[..., Any], *given: Any
) -> Any:
    """Return ``run(problem, *given, blocks)`` for the fastest blocks, of at most so many queries.

    Blocks that do not fit on the device give way to the last candidate, the smallest.
    """
    flags, tokens = problem.flags, problem.tokens
    candidates = _candidates(flags, tokens)[kernel]
    if kernel.endswith("forward") and tokens.shape[1] <= FEW.queries and not flags.interpreted:
        candidates = (FEW,)
    trial = partial(run, problem.by_powers, *given)
    found = _fastest(kernel, flags, tokens, candidates, trial)
    most = max(16, 1 << (most.bit_length() - 1))
    try:
        return run(problem, *given, _at_most(most, found))
    except OutOfResources:
        return run(problem, *given, _at_most(most, candidates[-1]))


def _at_most(most: int, blocks: Blocks) -> Blocks:
    """Return blocks of at most so many queries, and twice as many keys."""
    return blocks._replace(queries=min(blocks.queries, most), keys=min(blocks.keys, 2 * most))


def _fastest(
    kernel: str, flags: Flags, tokens: Any, candidates: tuple[Blocks, ...],
    run: Callable[[Blocks], Any],
) -> Blocks:  # fmt: skip
    """Return the fastest candidate; the first of them where measuring does not pay."""
    if len(candidates) == 1 or tokens.shape[1] < WORTH_MEASURING:
        return candidates[0]
    device = torch.cuda.get_device_name(tokens.device)
    case = kernel, device, str(tokens.dtype), triton.__version__, flags, candidates
    key = sha256(repr(case).encode()).hexdigest()
    if key not in _known:
        if torch.cuda.is_current_stream_capturing():
            return candidates[0]
        _known[key] = _stored(key) or _measure(key, candidates, run)
    return _known[key]


def _candidates(flags: Flags, tokens: Any) -> Candidates:
    """Return the candidates of all kernels."""
    if flags.interpreted:
        return dict.fromkeys([*NARROW, *BOTH], (Blocks(16, 32, 1, 1),))
    if tokens.dtype == torch.float32:
        return FULL | {name: found[1:] for name, found in BOTH.items()}
    return BOTH | (NARROW if max(flags.padded, flags.value_padded) <= 64 else WIDE)


def _stored(key: str) -> Blocks | None:
    """Return what an earlier process has found."""
    path = get_cache_manager(key).get_file("blocks.json")
    return None if path is None else Blocks(*json.loads(Path(path).read_text(encoding="utf-8")))


def _measure(key: str, candidates: tuple[Blocks, ...], run: Callable[[Blocks], Any]) -> Blocks:
    """Return the fastest of the candidates that fit on the device, and store it."""
    times = {}
    for each in candidates:
        with suppress(OutOfResources):
            run(each)
            bench: Any = triton.testing.do_bench
            times[each] = bench(partial(run, each), warmup=5, rep=20, return_mode="median")
    found = min(times, key=lambda each: times[each]) if times else candidates[0]
    get_cache_manager(key).put(json.dumps(found), "blocks.json", binary=False)
    return found
