"""Pages of experiments have the tables that their scripts make of the committed results."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "experiments"


@pytest.mark.parametrize("name", ["language", "long_context", "irregular_series"])
def test_page_has_the_tables_of_its_rows(name, tmp_path):
    pytest.importorskip("torch")
    figure = []
    if name == "long_context":
        pytest.importorskip("matplotlib")
        figure = ["--figure", str(tmp_path / "figure.png")]
    elif name == "irregular_series":
        pytest.importorskip("astropy_iers_data")
        pytest.importorskip("statsmodels")
    command = [sys.executable, str(FOLDER / f"{name}.py"), *figure, "table"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert rows
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in rows if line not in page] == []


def test_page_of_dilution_has_the_numbers_of_its_report():
    report = json.loads((FOLDER / "dilution.json").read_text(encoding="utf-8"))
    page = (FOLDER / "dilution.md").read_text(encoding="utf-8")
    columns = [report["keys"].index(4**i) for i in range(3, 9)]
    for quantity in ("weight", "coefficient", "output"):
        for values in report[quantity]["8"].values():
            row = " | ".join(f"{values[i]:.2f}" for i in columns)
            assert f"| {row} |" in page


@pytest.fixture
def scripts(monkeypatch):
    """Import a script of the experiments by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_exact_smoother_is_that_of_the_state_space_model(scripts):
    sequences = scripts("sequences")
    series = sequences.simulate(np.random.default_rng(0), 1, 0.1)
    times, values, _, kinds, variances = (x[0] for x in series)
    modes = 2 * len(sequences.RATE)
    observed, unit = np.tile([1.0, 0.0], modes // 2), np.eye(modes) / len(sequences.RATE)
    mean, covariance, passed = np.zeros(modes), unit, []
    for i, lag in enumerate(np.diff(times, prepend=times[0])):
        step = np.zeros((modes, modes))
        for k, factor in enumerate(np.exp(sequences.RATE * lag)):
            pair = slice(2 * k, 2 * k + 2)
            step[pair, pair] = [[factor.real, -factor.imag], [factor.imag, factor.real]]
        mean = step @ mean
        covariance = step @ covariance @ step.T + unit - step @ unit @ step.T
        predicted = mean, covariance
        if kinds[i] == sequences.OBSERVED:
            gain = covariance @ observed / (observed @ covariance @ observed + variances[i])
            mean = mean + gain * (values[i] - observed @ mean)
            covariance = covariance - np.outer(gain, observed @ covariance)
        passed.append((step, predicted, (mean, covariance)))
    smoothed = [mean]
    for (step, (ahead, spread), _), (*_, (mean, covariance)) in zip(
        passed[:0:-1], passed[-2::-1], strict=True
    ):
        back = np.linalg.solve(spread, step @ covariance).T
        smoothed.append(mean + back @ (smoothed[-1] - ahead))
    expected = np.stack(smoothed[::-1]) @ observed
    found = sequences.smoother(series, series.variance)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_encoders_depend_on_lags_alone_and_hidden_values_are_no_keys(scripts):
    torch = pytest.importorskip("torch")
    encoders = scripts("encoders")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 12, 2, generator=generator)
    times = torch.rand(2, 12, generator=generator).cumsum(1)
    observed = torch.arange(12) != 5
    tokens[:, 5] = 0.0
    later = torch.where(torch.arange(12) == 5, times + 0.01, times)
    for candidate in encoders.CANDIDATES:
        torch.manual_seed(0)
        model = encoders.model_of(candidate)
        with torch.no_grad():
            found, shifted, moved = (
                model(tokens, x, observed.expand(2, -1)) for x in (times, times + 3.0, later)
            )
        assert torch.allclose(found, shifted, atol=1e-5) == (candidate != "times as features")
        others = torch.allclose(found[:, observed], moved[:, observed], atol=1e-6)
        assert others == (candidate not in encoders.RECURRENT)


def test_language_models_begin_alike_and_only_their_matrices_decay(scripts):
    torch = pytest.importorskip("torch")
    attention, training = scripts("attention"), scripts("training")
    expected = (1.5 * attention.FEATURES) ** -0.5
    for candidate in attention.CANDIDATES:
        torch.manual_seed(0)
        model = attention.model_of(candidate)
        decayed = {
            id(x)
            for group in training.optimiser_of(model, 1e-3).param_groups
            for x in group["params"]
            if group["weight_decay"]
        }
        for name, x in model.named_parameters():
            assert (id(x) in decayed) == name.endswith("weight") * (x.ndim > 1), (candidate, name)
            if ".attention." in name and id(x) in decayed:
                assert abs(x.std().item() / expected - 1.0) < 0.05, (candidate, name)
