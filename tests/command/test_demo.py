"""The demonstration on the Nile, and the commands that print only."""

import os
import subprocess
import sys

import numpy as np
import pytest

from afa_core.backend import names
from afa_core.timeseries import Filter


def test_the_nile_is_fitted_as_published(read):
    from importlib.resources import files

    nile = read(files("afa_core.command") / "nile.csv")
    found = Filter(decay=0.0, robust=False).fit(nile["year"], nile["flow"])
    assert found.measurement_ == pytest.approx(15099, abs=1.0)
    assert found.process_ == pytest.approx(1469.1, abs=0.2)


def test_demo(run, tmp_path, read, monkeypatch):
    libraries = ["numpy", "torch"]  # the session `demo` runs it on all
    monkeypatch.setattr("afa_core.command.demo.names", lambda: libraries)
    code, out, err = run("demo", "--output", tmp_path)
    assert code == 0, err
    for name in libraries:
        assert f"\n{name} " in out
    assert "the reference" in out
    assert "\n  forecast        10 times\n" in out
    assert float(out.split("\ntorch ")[1].split("\n")[0].split()[-1]) < 1e-12
    assert len(read(tmp_path / "nile_filtered.csv")["flow_mean"]) == 100
    assert (tmp_path / "nile.png").stat().st_size > 20_000
    assert run("demo", "--output", tmp_path)[0] == 2


def test_the_nile_is_the_statsmodels_series(read):
    from importlib.resources import files

    data = pytest.importorskip("statsmodels.datasets").nile.load_pandas().data
    nile = read(files("afa_core.command") / "nile.csv")
    np.testing.assert_array_equal(nile["flow"], data["volume"])
    np.testing.assert_array_equal(nile["year"], data["year"])


def test_backends(run):
    code, out, _ = run("backends")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == names()
    assert "usable" in out


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "radial-tangential"])
def test_explain(run, form):
    code, out, _ = run("explain", "--queries", 4, "--keys", 8, "--modes", 2, "--form", form)
    why = "only Uniform() weights depend on the lag alone, not StudentT."
    first, linear, *tiles = out.splitlines()
    assert (code, first, linear) == (0, "reference would run", f"linear would not: {why}")
    names = [line.partition(" ")[0] for line in tiles]
    assert names == ["fused", "triton", "pallas", "streaming"]
    assert run("explain", "--implementation", "magic")[0] == 2


def test_as_a_module(tmp_path):
    columns = ["--time", "t", "--value", "z"]
    command = [sys.executable, "-m", "afa_core", "filter", "none.csv", *columns]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "afa_core: none.csv: cannot be read: No such file or directory.\n"
