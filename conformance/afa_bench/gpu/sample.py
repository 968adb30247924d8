"""Samples of time on a device: calls in a row, of which the last is waited for."""

from __future__ import annotations

import gc
from collections.abc import Callable
from timeit import Timer
from typing import Any

from afa_bench.candidates import Call


def sampler(synchronize: Callable[[Any], object]) -> Callable[[Call, int], float]:
    """Return a function of a call and a count: the mean seconds of so many calls."""

    def sample(call: Call, loops: int) -> float:
        def run() -> None:
            result = None
            for _ in range(loops):
                result = call()
            synchronize(result)

        return Timer(run, setup=gc.collect).timeit(1) / loops

    return sample
