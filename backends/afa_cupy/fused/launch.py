"""Compilation and launch of the kernel by CuPy."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from afa_core.streaming.operands import Operands, StaticProblem
from afa_cupy.fused.blocks import THREADS, Blocks, Memory, Tokens, choose_blocks
from afa_cupy.fused.prepare import Prepared, prepare, tokens_of

FILES = "arguments.cuh", "covariance.cuh", "weights.cuh", "tile.cuh", "forward.cu"
KERNEL = "forward"


class Results(NamedTuple):
    """What the kernel writes."""

    mean: Any  # (g, n, 2d_v)
    precision: Any  # (g, n, 1)
    limits: Any  # first key that a block of queries visits, and that after the last, (g, blocks, 2)


@cache
def source() -> str:
    """Return the text of the kernel, in ASCII: CuPy writes it in the encoding of the machine."""
    folder = Path(__file__).parent
    text = "\n".join((folder / name).read_text(encoding="utf-8") for name in FILES)
    return text.encode("ascii", "ignore").decode()  # others are in comments


def options_of(prepared: Prepared, power: int, shared_bytes: int) -> tuple[str, ...]:
    """Return the options of the compiler."""
    macros = prepared.macros | {"POWER": power, "SHARED_BYTES": shared_bytes}
    return "-std=c++17", *(f"-D{name}={value}" for name, value in macros.items())


def device_of(x: Any) -> AbstractContextManager[Any]:
    """Return the device of an array, for what is launched within."""
    device: AbstractContextManager[Any] = x.device
    return device


def memory_of(x: Any) -> Memory:
    """Return the shared memory of the device of an array."""
    return _memory(x.device.id)


@cache
def _memory(device: int) -> Memory:
    attributes = import_module("cupy").cuda.Device(device).attributes
    return Memory(
        attributes["MaxSharedMemoryPerBlockOptin"], attributes["MaxSharedMemoryPerMultiprocessor"]
    )


@cache
def compiled(options: tuple[str, ...]) -> Any:
    """Return the kernel; CuPy keeps what it has compiled on disk."""
    return import_module("cupy").RawModule(code=source(), options=options).get_function(KERNEL)


def new_results(operands: Any, blocks: Blocks, *, xp: Any) -> Results:
    """Return where the results are written."""
    heads, queries, _ = operands.query.shape
    dtype, device = operands.query.dtype, operands.query.device
    number = -(-queries // blocks.queries)
    return Results(
        xp.empty((heads, queries, operands.value.shape[-1]), dtype=dtype, device=device),
        xp.empty((heads, queries, 1), dtype=dtype, device=device),
        xp.zeros((heads, number, 2), dtype=xp.int32, device=device),
    )


def forward(operands: Any, static: StaticProblem, most: int, *, xp: Any) -> tuple[Results, Blocks]:
    """Return the estimates, by blocks of at most so many queries where there are such."""
    tokens = tokens_of(operands, static)
    with device_of(operands.query):
        blocks = choose_blocks(tokens, memory_of(operands.query), most)
        assert blocks is not None  # see `engine.refusal`
        return _launch(operands, static, blocks, tokens, xp=xp), blocks


def _launch(
    operands: Operands, static: StaticProblem, blocks: Blocks, tokens: Tokens, *, xp: Any
) -> Results:
    """Launch the kernel for the heads whose weights are powers, and for the others."""
    prepared = prepare(operands, static, blocks, xp=xp)
    results = new_results(operands, blocks, xp=xp)
    programs, size = results.limits.size // 2, blocks.shared_bytes(tokens)
    arguments = [_scalar(x, xp=xp) for x in prepared.arguments]
    for power in prepared.powers if programs else ():
        kernel = compiled(options_of(prepared, power, size))
        kernel.max_dynamic_shared_size_bytes = size
        kernel((programs,), (THREADS,), (*arguments, *results), shared_mem=size)
    return results


def _scalar(x: Any, *, xp: Any) -> Any:
    """Return a number in the type that the kernel takes; an array as it is."""
    if isinstance(x, int):
        return xp.int64(x)
    return xp.float64(x) if isinstance(x, float) else x
