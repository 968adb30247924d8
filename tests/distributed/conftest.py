"""The results of many devices and ranks, computed once for all tests in processes of their own."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

# Every program runs once, so the time to compile it counts, and not its speed.
FLAGS = (
    "--xla_force_host_platform_device_count=6 --xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false"
)
TIMEOUT = 400  # seconds


SCRIPTS = {"devices": "devices.py", "divided": "divided.py", "ranks": "ranks.py"}
"""The script of each fixture."""


def scripts_of(items):
    """Return the scripts that some tests need."""
    names = {name for item in items for name in getattr(item, "fixturenames", ())}
    return [script for name, script in SCRIPTS.items() if name in names]


def pytest_collection_modifyitems(items):
    """Put the tests of these results last: they take longer than any other."""
    items.sort(key=lambda item: bool(scripts_of([item])))


def pytest_collection_finish(session):
    """Run the scripts beside the first tests, so that no worker waits for them."""
    folder = folder_of(session.config)
    for script in scripts_of(session.items):
        threading.Thread(target=finish, args=(folder, script), daemon=True).start()


def folder_of(config):
    """Return the folder that the test workers share."""
    folder = config._tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def finish(folder, script):
    """Run a script and write its output, unless another worker does."""
    finished = folder / f"{script}.json"
    try:
        finished.with_suffix(".started").touch(exist_ok=False)
    except FileExistsError:
        return
    partial = finished.with_suffix(".partial")
    partial.write_text(json.dumps(run(script)), encoding="utf-8")
    partial.rename(finished)


@pytest.fixture(scope="session")
def output_of(request):
    """Return the parsed output of a script in this directory, which one test worker runs."""
    folder = folder_of(request.config)

    def output_of(script):
        finished, deadline = folder / f"{script}.json", time.monotonic() + TIMEOUT
        while not finished.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
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
    return output_of(SCRIPTS["devices"])


@pytest.fixture(scope="session")
def divided(output_of):
    """The results of functions on arrays that JAX divides among two devices."""
    pytest.importorskip("jax")
    return output_of(SCRIPTS["divided"])


@pytest.fixture(scope="session")
def ranks(output_of):
    """The results of four gloo ranks of PyTorch, one entry a rank."""
    pytest.importorskip("torch.distributed")
    return output_of(SCRIPTS["ranks"])
