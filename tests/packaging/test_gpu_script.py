"""`.ci/gpu`, on a machine without a GPU: it runs to its end, and names all that it skips."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

if "AFA_DIST" not in os.environ:
    pytest.skip("`nox -s wheel` builds the distributions", allow_module_level=True)


def test_without_a_gpu_every_column_is_skipped_and_named(tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "gpu", os.environ["AFA_DIST"], tmp_path / "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(done.stdout.splitlines()) == sorted(lines)
    matrix = tomllib.loads((ROOT / "conformance" / "matrix.toml").read_text(encoding="utf-8"))
    columns = [name for name, column in matrix["columns"].items() if column.get("gpu")]
    assert len(columns) >= 15
    named = {line.partition(":")[0]: line for line in lines}
    assert set(named) == {*columns, "sanitizer", "bench"}
    assert all(": skipped: " in line for line in named.values())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("machine.txt", "summary.txt", "reports.tar.gz")
    }
    with tarfile.open(tmp_path / "out" / "reports.tar.gz") as archive:
        for name in columns:
            report = json.load(archive.extractfile(f"reports/{name}.json"))
            assert report["unavailable"] in named[name]
            assert report["counts"]["skipped"] > 0
            assert report["laws"] == {}
            assert archive.getmember(f"reports/{name}.log").size > 0


def test_some_columns_alone(tmp_path):
    command = [sys.executable, ROOT / ".ci" / "gpu", os.environ["AFA_DIST"], tmp_path]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    options = ["--columns", "cupy-float32|16-triton", "--no-bench"]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.partition(":")[0] for line in done.stdout.splitlines()} == {
        *("cupy-float32", "sanitizer"),
        *("torch-cuda-bfloat16-triton", "torch-cuda-float16-triton"),
    }


def test_without_wheels_it_says_how_to_make_them(tmp_path):
    command = [sys.executable, ROOT / ".ci" / "gpu", tmp_path, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "holds no wheels: fill it by `.ci/gpu-wheels" in done.stderr
