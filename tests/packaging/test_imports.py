"""Importing the core imports no array library, whether one is installed or not."""

import subprocess
import sys
from importlib import metadata

import pytest

LIBRARIES = {"numpy", "torch", "jax", "cupy", "scipy"}


@pytest.fixture
def python(tmp_path):
    """Run the interpreter in an empty folder, so that it finds what is installed only."""

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_core_imports_no_array_library(python):
    loaded = python("-c", "import sys, afa_core; print(*sys.modules)").split()
    assert not LIBRARIES & set(loaded)


def test_version_is_that_of_the_distribution(python):
    version = python("-c", "import afa_core; print(afa_core.__version__)").strip()
    assert version == metadata.version("afa-core")


def test_help_needs_no_array_library(python):
    assert "usage" in python("-m", "afa_core", "--help")


def test_backends_are_found_by_entry_points():
    found = {point.name: point.value for point in metadata.entry_points(group="afa_core.backends")}
    names = ("numpy", "torch", "jax", "cupy")
    assert {name: found.get(name) for name in names} == {
        name: f"afa_{name}:BACKEND" for name in names
    }
