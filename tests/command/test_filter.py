"""`python -m afa_core filter` on series with outliers, gaps, ties and large times."""

import numpy as np
import pytest

from afa_core.backend import load

COLUMNS = ("--time", "t", "--value", "z")
MODEL = ("--decay", 0, "--process-noise", 0.05, "--measurement-noise", 1)
RESULTS = ["z_estimate", "z_std", "z_weight", "z_prediction", "z_kalman_estimate", "z_kalman_std"]


def lines(times, values):
    """Lines of a CSV file; NaN is an empty cell."""
    cells = ["" if np.isnan(z) else repr(float(z)) for z in values]
    return ["t,z", *(f"{t!r},{z}" for t, z in zip(map(float, times), cells, strict=True))]


@pytest.fixture
def filtered(run, write, read, tmp_path):
    """Filter times and values; return the table and what was printed."""

    def call(times, values, *options, name="data"):
        data = write(*lines(times, values), name=f"{name}.csv")
        code, out, err = run("filter", data, *COLUMNS, *options)
        assert code == 0, err
        return read(tmp_path / f"{name}_filtered.csv"), out

    return call


def assert_same(found, expected, tolerance=1e-9):
    """Compare the results of two runs."""
    for name in RESULTS:
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance)


def test_outliers_are_flagged_and_disturb_the_exact_filter_only(filtered, series):
    times, values, outliers = series
    table, out = filtered(times, values, *MODEL)
    np.testing.assert_array_equal(np.flatnonzero(table["z_outlier"]), outliers)
    assert "outliers        4: t" in out
    assert table["z_weight"][outliers].max() < 0.05
    others = np.setdiff1d(np.arange(1, len(times)), outliers)
    errors = [values - table[f"z_{name}prediction"] for name in ("", "kalman_")]
    robust, exact = (np.sqrt(np.mean(error[others] ** 2)) for error in errors)
    assert robust < 0.7 * exact


def test_predictions_do_not_depend_on_their_own_row(filtered, series):
    times, values, _ = series
    table, _ = filtered(times, values, *MODEL)
    changed = values.copy()
    changed[60:] += 5.0
    other, _ = filtered(times, changed, *MODEL, name="changed")
    for name in ("z_estimate", "z_weight", "z_kalman_estimate"):
        np.testing.assert_allclose(other[name][:60], table[name][:60], rtol=1e-9)
    for name in ("z_prediction", "z_kalman_prediction"):
        np.testing.assert_allclose(other[name][:61], table[name][:61], rtol=1e-9)


def test_rows_in_any_order_give_the_same_rows(filtered, series):
    times, values, _ = series
    table, _ = filtered(times, values, *MODEL)
    order = np.random.default_rng(0).permutation(len(times))
    shuffled, _ = filtered(times[order], values[order], *MODEL, name="shuffled")
    np.testing.assert_array_equal(shuffled["t"], times[order])
    assert_same({name: cells[np.argsort(order)] for name, cells in shuffled.items()}, table)


def test_times_of_a_billion_seconds(filtered, series):
    times, values, _ = series
    times = np.round(times * 1024.0) / 1024.0
    table, _ = filtered(times, values, *MODEL)
    late, _ = filtered(times + 2.0**30, values, *MODEL, name="late")
    assert_same(late, table, 1e-12)


def test_a_gap_is_predicted_across(filtered, series):
    times, values, _ = series
    gap = values.copy()
    gap[[0, 20, 21, 22]] = np.nan
    table, out = filtered(times, gap, *MODEL)
    assert "116 measurements in 120 rows" in out
    assert np.isnan(table["z_estimate"][0])
    assert np.isnan(table["z_weight"][[0, 20, 21, 22]]).all()
    assert np.isfinite(table["z_estimate"][1:]).all()
    np.testing.assert_allclose(
        table["z_kalman_estimate"][20:23], table["z_kalman_estimate"][19], rtol=1e-12
    )
    assert (np.diff(table["z_kalman_std"][19:23]) > 0).all()


def test_tied_times_are_two_measurements_of_one_state(filtered):
    table, _ = filtered([0.0, 0.0, 1.0, 1.0], [1.0, 3.0, 2.0, 2.0], *MODEL)
    np.testing.assert_allclose(table["z_kalman_estimate"][1], 2.0, rtol=1e-12)
    np.testing.assert_allclose(table["z_kalman_std"][1], np.sqrt(0.5), rtol=1e-12)


def test_one_row_is_its_own_estimate(filtered):
    table, _ = filtered([5.0], [3.0], *MODEL)
    assert table["z_estimate"] == table["z_kalman_estimate"] == [3.0]
    assert np.isnan(table["z_prediction"]).all()


def test_long_series_attend_in_chunks(filtered, monkeypatch, series):
    times, values, _ = series
    table, _ = filtered(times, values, *MODEL)
    monkeypatch.setattr("afa_core.command.filtering.CHUNK", 7)
    chunked, _ = filtered(times, values, *MODEL, name="chunked")
    assert_same(chunked, table, 1e-12)


@pytest.mark.parametrize("name", ["torch", "jax", "array_api_strict"])
def test_every_library_gives_the_same(filtered, series, name):
    if load(name).unavailable:
        pytest.skip(load(name).unavailable)
    times, values, _ = series
    table, _ = filtered(times[:40], values[:40], *MODEL)
    other, _ = filtered(times[:40], values[:40], *MODEL, "--backend", name, name=name)
    assert_same(other, table)


def test_a_mean_reverting_series_is_fitted(filtered):
    rng = np.random.default_rng(3)
    times = np.arange(800.0)
    state = [2.0]
    for _ in times[1:]:
        state.append(2.0 + 0.8 * (state[-1] - 2.0) + rng.normal())
    values = np.asarray(state) + 0.5 * rng.normal(size=800)
    _, out = filtered(times, values)
    fitted = {line.split()[0]: line for line in out.splitlines()}
    assert float(fitted["decay"].split()[1]) == pytest.approx(-np.log(0.8), rel=0.25)
    assert float(fitted["level"].split()[1]) == pytest.approx(2.0, abs=0.4)


def test_columns_are_filtered_one_by_one(run, write, read, tmp_path, series):
    times, values, _ = series
    rows = [f"{t!r},{z!r},{-2 * z!r}" for t, z in zip(times.tolist(), values.tolist(), strict=True)]
    data = write("t,a,b", *rows)
    options = ("--decay", 0, "--time", "t", "--value", "a", "--value", "b")
    code, out, _ = run("filter", data, *options, "--plot", tmp_path / "both.png")
    assert code == 0
    table = read(tmp_path / "data_filtered.csv")
    np.testing.assert_allclose(table["b_estimate"], -2 * table["a_estimate"], rtol=1e-4)
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert out.count("log-likelihood") == 2
