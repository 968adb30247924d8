"""The examples of the page on rings run as they are printed, and print what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "rings.md"
STARTED = {
    "": ("jax", []),
    "torchrun": ("torch", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]),
    "dask": ("dask", []),
}
ABORTED = "terminate called without an active exception"
"""What a rank of gloo says that, now and then, its threads outlive at exit."""


@pytest.mark.parametrize("kind", STARTED)
def test_example(kind, tmp_path):
    library, launcher = STARTED[kind]
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
