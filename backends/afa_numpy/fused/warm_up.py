"""Compile the loops ahead of their first call, in as many processes as there are cores."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from afa_core._checks.arguments import Arguments
from afa_core._checks.problem import prepare as prepare_problem
from afa_core.model.sde import SDE, IsotropicSDE, Noise, RadialTangentialSDE
from afa_core.streaming.attention import Streamed
from afa_numpy.fused.step import Memory, append
from afa_numpy.streaming import ENGINE

DTYPES = "float32", "float64"


def compile_all(forms: Sequence[type[SDE]]) -> Iterator[str]:
    """Compile the loops of some forms for both dtypes; yield the name of each."""
    each = list(product(forms, DTYPES))
    processes = min(len(each), os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(compile_loops, *zip(*each, strict=True))


def compile_loops(form: type[SDE], dtype: str) -> str:
    """Run the loops of a form forward and backward on one token, and a step; return their name."""
    from afa_numpy.fused import run

    logging.getLogger("afa_core").setLevel(logging.ERROR)
    token: Any = np.ones((1, 2), dtype)
    parameter: Any = np.asarray(0.5, dtype)
    noise = Noise(parameter, parameter, parameter)
    noises = (noise, noise) if form is RadialTangentialSDE else (noise,)
    make: Any = form
    problem, xp = prepare_problem(
        Arguments(token, token, token, make(parameter, parameter, *noises))
    )
    operands, static, sizes, *_ = Streamed.of(problem, ENGINE, None, xp=xp)
    prepared = run.prepare(operands, static, sizes.queries, threads=1)
    result, _ = run.forward(prepared)
    run.backward(prepared, result, result.mean, result.precision)
    if form is IsotropicSDE:
        compile_step(Arguments(token, token, token, problem.sde))
    return f"{form.__name__}, {dtype}"


class OneToken(NamedTuple):
    """A cache of a token, with a slot for another."""

    key: Any
    value: Any
    key2: Any
    times: Any
    origin: Any
    latest: Any
    visible: Any = None
    capacity: int | None = None
    used: int = 1


def compile_step(arguments: Arguments) -> None:
    """Run a step of decoding."""
    slots: Any = np.ones((2, 2), np.asarray(arguments.key).dtype)
    times, zero = np.zeros((2, 1)), np.zeros((1, 1))
    cache = OneToken(slots, slots.copy(), slots[:, :1].copy(), times, zero, zero)
    read = write = np.asarray
    memory = Memory(read, write, lambda buffer, *_: buffer, lambda x: (), lambda: 1)
    append(arguments, cache, None, memory)
