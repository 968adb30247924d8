"""The command line: its table, its record, and its errors."""

import json
import re

import numpy as np
import pytest

SMALL = ("--tokens", 24, "--heads", 2, "--modes", 3, "--repeats", 2)


@pytest.mark.parametrize("baselines", [("products", "reference"), ()])
def test_prints_a_table_and_writes_a_record(run, tmp_path, baselines):
    output = tmp_path / "record.json"
    chosen = [word for name in baselines for word in ("--baseline", name)]
    fast = () if baselines else ("--no-memory",)
    code, out, err = run(*SMALL, *chosen, *fast, "--output", output)
    assert code == 0, err
    record = json.loads(output.read_text(encoding="utf-8"))
    expected = baselines or ("products", "published")
    assert tuple(record["candidates"]) == ("afa", *expected)
    for name, found in record["candidates"].items():
        assert len(found["seconds"]) == 2, found
        assert ("bytes" in found) == bool(baselines)
        assert f"\n{name} " in out
    assert record["machine"]["versions"]["numpy"] == np.__version__
    code, _, err = run(*SMALL, "--output", output)
    assert code == 2
    assert "exists already" in err


def test_options_of_times_keys_and_threads(run, tmp_path):
    output = tmp_path / "record.json"
    options = ("--irregular", "--correlated", "--threads", 1, "--no-memory", "--output", output)
    code, out, err = run(*SMALL, *options)
    assert code == 0, err
    record = json.loads(output.read_text(encoding="utf-8"))
    kinds = [record["setting"][name] for name in ("irregular", "correlated", "threads")]
    assert kinds == [True, True, 1]
    assert tuple(record["candidates"]) == ("afa", "products")
    assert "irregular times, correlated keys, N=24, H=2, d=3, float32, forward, 1 thread\n" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tokens", 0), "`tokens` must be at least 1, got 0"),
        (("--modes", -1), "`modes` must be at least 1, got -1"),
        (("--threads", -1), "`threads` must be at least 0, got -1"),
        (("--backend", "jax", "--threads", 1), "`threads` must be 0 for 'jax'.*, got 1"),
        (("--repeats", 0), "`repeats` must be at least 1, got 0"),
        (("--form", "round"), "`form` must be one of 'isotropic'.*, got 'round'"),
        (("--weighting", "cauchy"), "`weighting` must be one of 'student'.*, got 'cauchy'"),
        (("--dtype", "int8"), "`dtype` must be one of 'float32'.*, got 'int8'"),
        (("--dtype", "bfloat16"), "`dtype` must be 'float32' or 'float64' for 'numpy'"),
        (("--backward",), "`backward` needs a library that differentiates, got 'numpy'"),
        (("--baseline", "sdpa"), "`baseline` must be one of 'products'.*, got 'sdpa'"),
        (("--implementation", "magic"), "`implementation` must be one of 'auto'.*, got 'magic'"),
        (("--backend", "fortran"), "`backend` must be one of 'numpy'.*, got 'fortran'"),
        (("--device", "cuda:7"), "backend 'numpy' has no device 'cuda:7'; it has cpu"),
    ],
)
def test_invalid_options_end_with_one_line(run, options, message):
    code, out, err = run(*options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(message, err), err
