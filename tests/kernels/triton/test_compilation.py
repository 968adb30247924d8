"""Kernels of Triton compile for a GPU, which need not be there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

OF_HOPPER, OF_OTHERS = 227 * 1024, 99 * 1024
"""Bytes of shared memory that a program may take."""


def test_kernels_compile():
    script = Path(__file__).with_name("compile_kernels.py")
    # kernels are interpreted or compiled, as it is set when they are imported
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_DEFAULT_FP_FUSION": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for case, kernels in found.items():
        smallest = case in ("single precision", "everything")
        for name, (shared, products) in kernels.items():
            assert shared <= (OF_OTHERS if smallest else OF_HOPPER), (case, name)
            assert products > 0 or smallest, (case, name)  # in the matrix units of Hopper
