"""The installed suite tests kernels outside of any package: the guide's right and wrong one."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

for needed in ("hypothesis", "mpmath", "scipy"):
    pytest.importorskip(needed, reason="the extra [conformance] is not installed")

DOCS = Path(__file__).parents[2] / "docs"
DOUBLE_SUM = "attention/test_double_sum.py"
CALIBRATION = "weights/test_calibration.py::test_logit_peaks_at_calibration[4.0-isotropic]"
LAWS = (f"{DOUBLE_SUM}::*", "attention/test_units.py::*", "weights/*")
FEW_LAWS = (f"{DOUBLE_SUM}::test_any_regime", CALIBRATION, "attention/test_units.py::*")


@pytest.fixture
def python(tmp_path):
    """Run the interpreter in a folder that holds nothing but the two kernels."""
    for name in ("tiled.py", "wrong.py"):
        shutil.copy(DOCS / "examples" / name, tmp_path)
    environment = {name: x for name, x in os.environ.items() if not name.startswith("PYTEST_")}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def run_laws(python, tmp_path):
    """Run some laws on a kernel; return the finished process and the report."""

    def run(kernel, *laws):
        command = ["-m", "afa_conformance", "--afa-backend=numpy", "--tb=short"]
        command += [f"--afa-implementation={kernel}", "--hypothesis-profile=ci"]
        command += [f"--afa-law={law}" for law in laws]
        done = python(*command, "--afa-report=report.json")
        return done, json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))

    return run


def test_the_right_kernel_passes(run_laws):
    done, report = run_laws("tiled:attention", *LAWS)
    assert done.returncode == 0, done.stdout
    assert report["counts"]["failed"] == 0
    assert report["counts"]["passed"] >= 10
    cases = report["laws"][f"{DOUBLE_SUM}::test_estimate_is_the_double_sum"]["cases"]
    found = {case.strip("[]").split("-")[0]: each["outcome"] for case, each in cases.items()}
    assert found == {
        "isotropic": "passed", "diagonal": "unsupported", "radial_tangential": "unsupported"
    }  # fmt: skip


def test_the_wrong_kernel_fails_by_name_and_again(run_laws, python):
    done, report = run_laws("wrong:attention", *FEW_LAWS)
    assert done.returncode == 1, done.stdout
    assert report["counts"]["failed"] == 2
    assert report["counts"]["passed"] == 4  # units alone catch no wrong constant
    assert "= laws broken =" in done.stdout
    assert f"{DOUBLE_SUM}::test_any_regime" in done.stdout
    assert "equation (3.1)" in done.stdout
    assert CALIBRATION in done.stdout

    printed = [line.strip() for line in done.stdout.splitlines() if "again: " in line]
    guide = (DOCS / "testing.md").read_text(encoding="utf-8").splitlines()
    assert printed == [line.strip() for line in guide if line.startswith("    again: ")]
    (line,) = (line for line in printed if line.endswith("::test_any_regime"))
    words = shlex.split(line.removeprefix("again: "))
    assert words[0] == "python"
    again = python(*words[1:])
    assert again.returncode == 1, again.stdout
    assert "laws of Adaptive Filter Attention: 1 failed" in again.stdout


def test_the_wrong_kernel_fails_in_half_precision(run_laws, tmp_path):
    """Its error of some percent exceeds what half precision adds to single precision."""
    declared = 'from wrong import attention\n\nattention.supports |= {"dtype": ("float16",)}\n'
    (tmp_path / "half.py").write_text(declared, encoding="utf-8")
    done, report = run_laws("half:attention", f"{DOUBLE_SUM}::test_any_regime")
    assert done.returncode == 1, done.stdout
    assert report["under_test"]["dtype"] == "float16"
    assert report["counts"]["failed"] == 1


def test_the_right_kernel_passes_in_half_precision(run_laws, tmp_path):
    declared = 'from tiled import attention\n\nattention.supports |= {"dtype": ("float16",)}\n'
    (tmp_path / "half.py").write_text(declared, encoding="utf-8")
    done, _ = run_laws(
        "half:attention", f"{DOUBLE_SUM}::test_any_regime", f"{DOUBLE_SUM}::test_weights"
    )
    assert done.returncode == 0, done.stdout
