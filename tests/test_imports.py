"""Importing a backend asks its library for no device, after which it could not be configured."""

import subprocess
import sys

import pytest

JAX_MODULES = """
from importlib import import_module
from pkgutil import walk_packages

import afa_core, afa_jax, jax

for each in walk_packages(afa_jax.__path__, "afa_jax."):
    import_module(each.name)
jax.config.update("jax_num_cpu_devices", 3)
print(len(jax.devices("cpu")), afa_jax.BACKEND.name)
"""


def output(code):
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_number_of_devices_of_jax_can_be_set():
    for library in ("jax", "equinox", "flax"):
        pytest.importorskip(library)
    assert output(JAX_MODULES).split() == ["3", "jax"]


def test_pytorch_counts_no_gpus():
    """Where counting them starts CUDA, the process can neither fork nor choose among them."""
    pytest.importorskip("torch")
    modules = ", ".join(f"afa_torch.{x}" for x in ("execution", "files", "layer", "nn", "ring"))
    output(f"import torch; torch.cuda.device_count = None; import {modules}")


def test_cupy_counts_no_gpus():
    output("import sys, types; sys.modules['cupy'] = types.ModuleType('cupy'); import afa_cupy")
