"""The results of many devices and ranks, computed once for all tests in processes of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Every program runs once, so the time to compile it counts, and not its speed.
FLAGS = (
    "--xla_force_host_platform_device_count=6 --xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false"
)
TIMEOUT = 400  # seconds


@pytest.fixture(scope="session")
def output_of(tmp_path_factory):
    """Return the parsed output of a script in this directory, which one test worker runs."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    def output_of(script):
        finished, started = folder / f"{script}.json", folder / f"{script}.started"
        try:
            started.touch(exist_ok=False)
        except FileExistsError:
            deadline = time.monotonic() + TIMEOUT
            while not finished.exists() and time.monotonic() < deadline:
                time.sleep(0.2)
        else:
            partial = finished.with_suffix(".partial")
            partial.write_text(json.dumps(run(script)), encoding="utf-8")
            partial.rename(finished)
        status, output, errors = json.loads(finished.read_text(encoding="utf-8"))
        assert status == 0, errors
        return json.loads(output)

    return output_of


def run(script):
    """Run a script; return its exit status, standard output and standard error."""
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name(script))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XLA_FLAGS": FLAGS}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=0.9 * TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        return 1, "", str(error)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def devices(output_of):
    """The results of six JAX devices."""
    pytest.importorskip("jax")
    return output_of("devices.py")


@pytest.fixture(scope="session")
def ranks(output_of):
    """The results of four gloo ranks of PyTorch, one entry a rank."""
    pytest.importorskip("torch.distributed")
    return output_of("ranks.py")
