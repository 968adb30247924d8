"""The examples of the page on context parallelism run, and print the lines in their comments."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
LAUNCHERS = {
    "": ("jax", []),
    "torchrun": ("torch", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]),
    "dask": ("dask", []),
}
ABORTED = "terminate called without an active exception"
"""Printed, now and then, by a gloo rank whose threads outlive it; the example is then run again."""


@pytest.mark.parametrize("kind", LAUNCHERS)
def test_example(kind, tmp_path):
    library, launcher = LAUNCHERS[kind]
    pytest.importorskip(library)
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(rf"```{f'python {kind}'.strip()}\n(.*?)```", text, flags=re.S)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *launcher, "example.py"],
            cwd=tmp_path,
            env=os.environ | {"XLA_FLAGS": flags, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if ABORTED not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"print\(.*\)\s+# (.*)", code)
