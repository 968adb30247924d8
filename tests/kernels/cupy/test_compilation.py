"""The kernel compiles for GPUs that need not be there."""

import ctypes
from importlib.metadata import PackageNotFoundError, files

import pytest

from afa_cupy.fused import launch
from afa_cupy.fused.blocks import CANDIDATES, Memory, Tokens, choose_blocks
from afa_cupy.fused.prepare import Prepared

MEMORY = {
    "sm_80": Memory(163 * 1024, 164 * 1024),
    "sm_89": Memory(99 * 1024, 100 * 1024),
    "sm_90": Memory(227 * 1024, 228 * 1024),
}
DEFAULT = {
    "REAL": "float", "PADDED": 128, "VALUE_PADDED": 128, "CAUSAL": 1, "MASKED": 0,
    "WEIGHTING": "STUDENT", "DIRECTIONS": 0, "TEMPERATURE": 0, "TWO_SIDED": 0, "EXITS": 0,
}  # fmt: skip
EVERYTHING = {
    "REAL": "double", "PADDED": 48, "VALUE_PADDED": 256, "CAUSAL": 0, "MASKED": 1,
    "WEIGHTING": "RATIONAL", "DIRECTIONS": 2, "TEMPERATURE": 1, "TWO_SIDED": 1, "EXITS": 1,
}  # fmt: skip
CASES = [
    ("sm_90", DEFAULT, 5),
    ("sm_80", EVERYTHING, -1),
    ("sm_89", DEFAULT | {"DIRECTIONS": 1, "EXITS": 1}, 1),
]


OF_CUPY = "-ftz=true", "--device-as-default-execution-space"
"""Options that CuPy adds to those of a program."""


@pytest.fixture(scope="session")
def nvrtc():
    """The run-time compiler of CUDA, of its own wheel."""
    for package in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"):
        try:
            found = [x for x in files(package) or () if x.name.startswith("libnvrtc.so")]
        except PackageNotFoundError:
            continue
        return ctypes.CDLL(str(found[0].locate()))
    pytest.skip("nvidia-cuda-nvrtc is not installed")


def log_of(nvrtc, source, options):
    """Return what the compiler says of a program, and whether it compiles."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    code = source.encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, b"forward.cu", 0, None, None) == 0
    given = (ctypes.c_char_p * len(options))(*(each.encode() for each in options))
    status = nvrtc.nvrtcCompileProgram(program, len(options), given)
    assert nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0
    log = ctypes.create_string_buffer(size.value)
    assert nvrtc.nvrtcGetProgramLog(program, log) == 0
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode(), status == 0


@pytest.mark.parametrize(("arch", "macros", "power"), CASES)
def test_kernel_compiles(arch, macros, power, nvrtc):
    itemsize = 8 if macros["REAL"] == "double" else 4
    tokens = Tokens(macros["PADDED"], macros["VALUE_PADDED"], itemsize, macros["DIRECTIONS"])
    blocks = choose_blocks(tokens, MEMORY[arch], 256)
    macros = macros | {"ROWS": blocks.rows, "COLUMNS": blocks.columns}
    prepared = Prepared((), macros, (power,))
    options = launch.options_of(prepared, power, blocks.shared_bytes(tokens))
    log, compiles = log_of(
        nvrtc, launch.source(), [*options, *OF_CUPY, f"--gpu-architecture={arch}"]
    )
    assert compiles, log
    assert "warning" not in log


def test_errors_are_found(nvrtc):
    broken = launch.source() + "\nint broken = none;\n"
    macros = DEFAULT | {"ROWS": 1, "COLUMNS": 1}
    options = launch.options_of(Prepared((), macros, (1,)), 1, 1 << 16)
    log, compiles = log_of(nvrtc, broken, list(options))
    assert not compiles
    assert "none" in log


@pytest.mark.parametrize("memory", MEMORY.values(), ids=list(MEMORY))
@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("width", [2, 128, 256])
def test_blocks_fit(width, itemsize, memory):
    tokens = Tokens(width, width, itemsize, 2)
    found = choose_blocks(tokens, memory, 256)
    assert found.shared_bytes(tokens) <= memory.block
    small = choose_blocks(tokens, memory, 8)
    assert small == CANDIDATES[-1]
    assert choose_blocks(tokens, Memory(1024, 1024), 256) is None
