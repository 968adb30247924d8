"""The kernel of CuPy as a compiler for CPUs has it, with blocks of emulated threads."""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from array_api_compat import numpy as xp

from afa_cupy.fused import launch
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
    return ctypes.c_double(x) if isinstance(x, float) else ctypes.c_longlong(x)


def run(operands, static, blocks, *, backwards=False, source=None):
    """Return the results of the kernel, whose threads run forwards or backwards."""
    tokens = tokens_of(operands, static)
    prepared, size = prepare(operands, static, blocks, xp=xp), blocks.shared_bytes(tokens)
    results = launch.new_results(operands, blocks, xp=xp)
    for each in results[:2]:
        each[...] = np.nan
    for power in prepared.powers:
        function = compiled(launch.options_of(prepared, power, size), source or launch.source())
        slots = [as_slot(x) for x in (*prepared.arguments, *results)]
        given = (ctypes.c_void_p * len(slots))(*(ctypes.addressof(x) for x in slots))
        waits_for_ever = function(results.limits.size // 2, int(backwards), given)
        assert not waits_for_ever
    return results


@pytest.fixture(scope="session")
def on_host():
    """The function that runs the kernel on a CPU."""
    if COMPILER is None:
        pytest.skip("there is no g++")
    return run
