"""The examples of the page on context parallelism run, and print the lines in their comments."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
TORCHRUN = """\
import os
import runpy
import socket
import sys

import afa_torch.ring
import torch.multiprocessing as mp


def run(rank, port):
    os.environ |= {"RANK": f"{rank}", "WORLD_SIZE": "2", "MASTER_PORT": f"{port}"}
    os.environ["MASTER_ADDR"] = "localhost"
    runpy.run_path(sys.argv[1])


with socket.create_server(("localhost", 0)) as free:
    port = free.getsockname()[1]
mp.start_processes(run, (port,), 2, start_method="fork")
"""
"""The environment and the two ranks of `torchrun`, which import PyTorch once together."""
LAUNCHERS = {
    "": ("jax", []),
    "torchrun": ("torch", ["-c", TORCHRUN]),
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
    flags = (
        "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
        " --xla_cpu_use_fusion_emitters=false"
    )
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
