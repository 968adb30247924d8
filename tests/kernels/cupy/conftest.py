"""The kernel of CuPy as a compiler for CPUs has it, with blocks of emulated threads."""

import ctypes
import shutil
import subprocess
import tempfile
from contextlib import nullcontext
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from array_api_compat import numpy as xp

from afa_core import _dispatch
from afa_cupy.execution import EXECUTION
from afa_cupy.fused import launch
from afa_cupy.fused.blocks import THREADS, Memory
from afa_cupy.fused.prepare import prepare, tokens_of

COMPILER = shutil.which("g++")
SHIM = Path(__file__).with_name("host_cuda.h")
LAUNCH = """
alignas(16) unsigned char shared_memory[SHARED_BYTES];

extern "C" int launch(int blocks, int reversed, void **given) {
    auto body = [](void **given) { emulator::call(forward, given); };
    return emulator::run(body, blocks, THREADS, SHARED_BYTES, reversed, given);
}
"""


@cache
def folder():
    return tempfile.TemporaryDirectory(prefix="afa-host-")


@cache
def compiled(options, source):
    """Return the function that launches the kernel."""
    name = sha256(repr((options, source)).encode()).hexdigest()[:16]
    library = Path(folder().name) / f"{name}.so"
    command = [COMPILER, "-O1", "-w", "-shared", "-fPIC", "-include", str(SHIM), *options]
    command += ["-x", "c++", "-", "-o", str(library)]
    done = subprocess.run(
        command, input=source + LAUNCH, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library)).launch


def as_slot(x):
    """Return a value as the kernel takes it: the address of an array, or a number."""
    if isinstance(x, np.ndarray):
        return ctypes.c_void_p(x.ctypes.data)
    return ctypes.c_double(x) if isinstance(x, float) else ctypes.c_longlong(int(x))


def call(options, blocks, arguments, *, backwards=False):
    """Launch the kernel, whose threads run forwards or backwards."""
    function = compiled(options, launch.source())
    slots = [as_slot(x) for x in arguments]
    given = (ctypes.c_void_p * len(slots))(*(ctypes.addressof(x) for x in slots))
    waits_for_ever = function(blocks, int(backwards), given)
    assert not waits_for_ever


def run(operands, static, blocks, *, backwards=False, powers=None):
    """Return the results of all launches of the kernel, or of those with some powers."""
    size = blocks.shared_bytes(tokens_of(operands, static))
    prepared = prepare(operands, static, blocks, xp=xp)
    results = launch.new_results(operands, blocks, xp=xp)
    for each in results[:2]:
        each[...] = np.nan
    for power in powers or prepared.powers:
        options = launch.options_of(prepared, power, size)
        arguments = *prepared.arguments, *results
        call(options, results.limits.size // 2, arguments, backwards=backwards)
    return results


class Kernel:
    """What CuPy returns of a program, without a GPU."""

    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, options):
        self.options = options

    def __call__(self, grid, block, arguments, *, shared_mem):
        assert block == (THREADS,)
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        call(self.options, *grid, arguments)


@pytest.fixture(scope="session")
def on_host():
    """The function that runs the kernel on a CPU."""
    if COMPILER is None:
        pytest.skip("there is no g++")
    return run


@pytest.fixture
def cupy_on_host(on_host, monkeypatch):
    """NumPy arrays run by the engines of CuPy, and the kernel by emulated threads."""
    monkeypatch.setitem(_dispatch.REGISTERED, "numpy", EXECUTION)
    monkeypatch.setattr(launch, "compiled", Kernel)
    monkeypatch.setattr(launch, "device_of", lambda x: nullcontext())
    memory = Memory(227 * 1024, 228 * 1024)
    monkeypatch.setattr(launch, "memory_of", lambda x: memory)
