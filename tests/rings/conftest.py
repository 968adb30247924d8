"""What many devices and ranks found, each in processes of their own, once for all tests."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

# programs run once: what counts is how soon they are compiled
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
PATIENCE = 400  # seconds


@pytest.fixture(scope="session")
def told_by(tmp_path_factory):
    """Return what a script beside this file prints; it runs once, whatever workers ask for it."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place

    def told(script):
        answer, begun = place / f"{script}.json", place / f"{script}.begun"
        try:
            begun.touch(exist_ok=False)
        except FileExistsError:
            deadline = time.monotonic() + PATIENCE
            while not answer.exists() and time.monotonic() < deadline:
                time.sleep(0.2)
        else:
            partial = answer.with_suffix(".partial")
            partial.write_text(json.dumps(run(script)), encoding="utf-8")
            partial.rename(answer)
        code, output, complaint = json.loads(answer.read_text(encoding="utf-8"))
        assert code == 0, complaint
        return json.loads(output)

    return told


def run(script):
    """Run a script; return its exit status, output and complaints."""
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name(script))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XLA_FLAGS": FLAGS}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=0.9 * PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        return 1, "", str(error)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def devices(told_by):
    """What eight devices of JAX found."""
    pytest.importorskip("jax")
    return told_by("devices.py")


@pytest.fixture(scope="session")
def ranks(told_by):
    """What four gloo ranks of PyTorch found, each of them."""
    pytest.importorskip("torch.distributed")
    return told_by("ranks.py")
