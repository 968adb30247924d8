"""The command `filter`: its table, its summary, pairs, dates, libraries, and standard streams."""

import io

import numpy as np
import pytest

from afa_core.backend import load
from afa_core.timeseries import Filter

COLUMNS = ("--time", "t", "--value", "z")
MODEL = ("--decay", 0, "--process-noise", 0.05, "--measurement-noise", 1)
WALK = {"decay": 0.0, "process": 0.05, "measurement": 1.0}
RESULTS = ("mean", "sd", "prediction", "prediction_sd", "weight", "outlier")


def lines(times, values):
    """Lines of a CSV file; NaN is an empty cell."""
    cells = ["" if np.isnan(z) else repr(float(z)) for z in values]
    return ["t,z", *(f"{t},{z}" for t, z in zip(times, cells, strict=True))]


@pytest.fixture
def filtered(run, write, read, tmp_path):
    """Filter times and values; return the table and what was printed."""

    def call(times, values, *options, name="data"):
        data = write(*lines(np.asarray(times).tolist(), values), name=f"{name}.csv")
        code, out, err = run("filter", data, *COLUMNS, *options)
        assert code == 0, err
        return read(tmp_path / f"{name}_filtered.csv"), out

    return call


def assert_same(table, found, tolerance=1e-9):
    """Compare a table with the result of the filter in Python."""
    for name in RESULTS:
        expected = np.asarray(getattr(found, name), dtype=float)
        np.testing.assert_allclose(table[f"z_{name}"], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        (MODEL, WALK),
        ((*MODEL, "--no-robust"), WALK | {"robust": False}),
        ((*MODEL, "--dof", 2, "--threshold", 2.5), WALK | {"dof": 2.0, "threshold": 2.5}),
        ((*MODEL, "--window", 8), WALK | {"window": 8}),
        (("--level", 0.5, *MODEL[2:], "--decay", 0.1), WALK | {"level": 0.5, "decay": 0.1}),
        ((), {}),
    ],
)
def test_the_command_gives_what_python_does(filtered, series, options, parameters):
    times, values, _ = series
    table, out = filtered(times, values, *options)
    model = Filter(**parameters).fit(times, values)
    found = model.filter()
    assert_same(table, found)
    for level, interval in ((0.95, table), (0.5, None)):
        if interval is None:
            interval, _ = filtered(times, values, *options, "--interval", level, name="half")
        lower, upper = found.interval(level)
        np.testing.assert_allclose(interval["z_lower"], lower, rtol=1e-9)
        np.testing.assert_allclose(interval["z_upper"], upper, rtol=1e-9)
    assert model.summary().partition(":")[2] in out


def test_the_table_has_the_columns_that_were_read_and_the_results(run, write):
    data = write("more;t;z;y", *(f"{x};{x:03};{x},5;NA" for x in range(9)), "x;009;;1,0")
    options = ("--value", "z", "--value", "y", "--process-noise", 1, "--measurement-noise", 1)
    code, _, err = run("filter", data, "--time", "t", *options, "--decay", 0)
    assert code == 0, err
    first, *rows = (data.parent / "data_filtered.csv").read_text().splitlines()
    results = ("mean", "sd", "lower", "upper", *RESULTS[2:])
    assert first.split(";") == [
        "t",
        *("z", *(f"z_{name}" for name in results)),
        *("y", *(f"y_{name}" for name in results)),
    ]
    cells = [row.split(";") for row in rows]
    assert [row[0] for row in cells] == [f"{x:03}" for x in range(10)]
    assert [row[1] for row in cells] == [*(f"{x},5" for x in range(9)), ""]
    assert [row[10] for row in cells] == ["NA"] * 9 + ["1,0"]
    assert all("." not in row for row in rows)
    assert {row[9] for row in cells} == {"0"}


def test_outliers_are_flagged_and_listed(filtered, series):
    times, values, outliers = series
    table, out = filtered(times, values, *MODEL)
    np.testing.assert_array_equal(np.flatnonzero(table["z_outlier"]), outliers)
    listed = ", ".join(repr(t) for t in times[outliers].tolist())
    assert f"  outliers        4: t {listed}\n" in out
    error = (values - table["z_prediction"])[1:]
    good = np.delete(error, outliers - 1)
    rms, without = (np.sqrt(np.mean(x**2)) for x in (error, good))
    assert f"  prediction rms  {rms:.5g}, without outliers {without:.5g}\n" in out


def test_rows_in_any_order_give_the_same_rows(filtered, series):
    times, values, _ = series
    table, out = filtered(times, values, *MODEL)
    order = np.random.default_rng(0).permutation(len(times))
    shuffled, said = filtered(times[order], values[order], *MODEL, name="shuffled")
    for name, cells in table.items():
        np.testing.assert_allclose(shuffled[name], cells[order], rtol=1e-9)
    note = "shuffled.csv: rows are sorted by time, and written in their order\n"
    assert note in said
    assert said.replace(note, "").replace("shuffled", "data").endswith(out[-200:])


def test_rows_of_one_time_keep_their_order(filtered):
    values = np.random.default_rng(0).normal(size=100)
    table, _ = filtered(np.repeat([1, 0], 50), values, *MODEL, "--no-robust")
    first = np.cumsum(values[50:]) / np.arange(1, 51)
    np.testing.assert_allclose(table["z_mean"][50:], first, rtol=1e-9)


def test_gaps_are_predicted_across(filtered, series):
    times, values, _ = series
    gap = values.copy()
    gap[[0, 20, 21, 22]] = np.nan
    table, out = filtered(times, gap, *MODEL)
    assert "116 measurements in 120 rows" in out
    assert np.isnan(table["z_mean"][0])
    assert np.isnan(table["z_weight"][[0, 20, 21, 22]]).all()
    assert np.isfinite(table["z_mean"][1:]).all()


def test_times_of_64_bits_are_not_rounded(filtered, series):
    _, values, _ = series
    ticks = np.cumsum(np.random.default_rng(1).integers(1, 100, size=len(values)))
    table, out = filtered(ticks, values)
    late, said = filtered(ticks + 1_700_000_000_000_000_000, values, name="late")
    np.testing.assert_array_equal(late["z_mean"], table["z_mean"])
    assert likelihood(said) == likelihood(out)


def likelihood(out):
    return next(line for line in out.splitlines() if "log-likelihood" in line)


@pytest.mark.parametrize("exponent", [-120, 120])
def test_large_and_small_values_are_scaled(filtered, series, exponent):
    times, values, _ = series
    table, _ = filtered(times, values)
    scaled, out = filtered(times, values * 10.0**exponent, name="scaled")
    np.testing.assert_allclose(scaled["z_mean"] * 10.0**-exponent, table["z_mean"], rtol=1e-4)
    assert "nan" not in out


@pytest.mark.parametrize("exponent", [-160, 160])
def test_values_whose_squares_have_no_number_are_refused(run, write, series, exponent):
    times, values, _ = series
    data = write(*lines(times, values * 10.0**exponent))
    code, out, err = run("filter", data, *COLUMNS)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert 'data.csv: `values` of "z" vary by ' in err
    assert list(data.parent.iterdir()) == [data]


@pytest.mark.parametrize("unit", ["h", "s"])
def test_dates_are_counted_in_units(filtered, run, read, tmp_path, unit):
    values = np.random.default_rng(0).normal(size=30)
    hours = np.datetime64("2024-01-01T00") + np.arange(30)
    times = [f"{hour}:00:00+01:00" for hour in hours]
    steps = np.arange(30) * {"h": 1, "s": 3600}[unit]
    dates = tmp_path / "dates.csv"
    dates.write_text("\n".join(lines(times, values)))
    code, out, err = run("filter", dates, *COLUMNS, *MODEL, "--unit", unit)
    assert code == 0, err
    assert "times are in UTC (from +01:00)" in out
    assert f"value²/{unit} (given)" in out
    expected, _ = filtered(steps, values, *MODEL)
    text = (tmp_path / "dates_filtered.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in text[1:]] == times
    mean = [float(row.split(",")[2]) for row in text[1:]]
    np.testing.assert_allclose(mean, expected["z_mean"], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "dated"),
    [("torch", False), ("torch", True), ("jax", True), ("array_api_strict", False)],
)
def test_every_library_gives_the_same(run, write, read, tmp_path, series, name, dated):
    if load(name).unavailable:
        pytest.skip(load(name).unavailable)
    times, values, _ = series
    times = np.datetime64("2024-01-01T00") + np.arange(40) if dated else times[:40]
    for backend in ("numpy", name):
        data = write(*lines(times.tolist(), values[:40]), name=f"{backend}.csv")
        if dated:
            data.write_text(data.read_text().replace(" ", "T"))
        code, _, err = run("filter", data, *COLUMNS, *MODEL, "--backend", backend)
        assert code == 0, err
    tables = [tmp_path / f"{each}_filtered.csv" for each in ("numpy", name)]
    found, expected = (np.genfromtxt(path, delimiter=",", skip_header=1)[:, 1:] for path in tables)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.fixture
def phasor():
    """A rotating state of two components, measured with noise and an outlier; its frequency."""
    rng = np.random.default_rng(2)
    frequency, state, found = 0.3, 3.0 + 0.0j, []
    for _ in range(300):
        state = state * np.exp(1j * frequency) + 0.1 * (rng.normal() + 1j * rng.normal())
        found.append(state + 0.3 * (rng.normal() + 1j * rng.normal()))
    found[150] += 8.0
    return np.asarray(found), frequency


@pytest.mark.parametrize("given", [True, False])
def test_a_pair_is_one_rotating_state(run, write, read, phasor, given):
    values, frequency = phasor
    rows = (f"{t},{z.real!r},{z.imag!r},{t % 7}" for t, z in enumerate(values.tolist()))
    data = write("t,x,y,z", *rows)
    option = ("--frequency", frequency) if given else ()
    columns = ("--time", "t", "--pair", "x", "y", *option)
    code, out, err = run("filter", data, *columns, "--value", "z")
    assert code == 0, err
    table = read(data.parent / "data_filtered.csv")
    pair = np.stack([values.real, values.imag], axis=1)
    found = Filter(frequency=frequency if given else None).fit(np.arange(300), pair).filter()
    for place, name in enumerate("xy"):
        np.testing.assert_allclose(table[f"{name}_mean"], found.mean[:, place], rtol=1e-7)
        assert np.flatnonzero(table[f"{name}_outlier"]).tolist() == [150]
    alone = Filter().fit(np.arange(300), np.arange(300) % 7).filter()
    np.testing.assert_allclose(table["z_mean"], alone.mean, rtol=1e-7)
    assert "\nx, y: 300 measurements in 300 rows\n" in out
    assert "  outliers        1: t 150\n" in out
    assert "\nz: 300 measurements in 300 rows\n" in out


def test_standard_input_and_output(run, monkeypatch, series):
    times, values, _ = series

    class Standard:
        buffer = io.BytesIO("\n".join(lines(times, values)).encode())

    monkeypatch.setattr("sys.stdin", Standard)
    code, out, err = run("filter", "-", *COLUMNS, *MODEL)
    assert code == 0
    assert len(out.splitlines()) == 121
    assert out.startswith("t,z,z_mean,")
    assert err.startswith("standard input: t ")
    assert "wrote" not in err


def test_a_table_on_standard_output_is_alone_there(run, write, series, tmp_path):
    times, values, _ = series
    data, plot = write(*lines(times, values)), tmp_path / "a.png"
    code, out, err = run("filter", data, *COLUMNS, *MODEL, "--output", "-", "--plot", plot)
    assert code == 0
    assert out.startswith("t,z,z_mean,")
    assert out.count("\n") == 121
    assert err.endswith(f"wrote {plot}\n")
    assert sorted(tmp_path.iterdir()) == [plot, data]


@pytest.mark.parametrize("kind", ["numbers", "dates", "zoned dates"])
def test_parquet_has_types(run, write, tmp_path, series, kind):
    pytest.importorskip("pyarrow")
    import pandas as pd

    _, values, _ = series
    index = {"numbers": pd.RangeIndex(120), "dates": pd.date_range("2024-01-01", periods=120)}
    index["zoned dates"] = index["dates"].tz_localize("UTC")
    index, path = index[kind], tmp_path / "a.parquet"
    zone = "Z" if kind == "zoned dates" else ""
    times = index if kind == "numbers" else [f"{day:%Y-%m-%dT%H:%M}{zone}" for day in index]
    data = write(*lines(times, values))
    code, _, err = run("filter", data, *COLUMNS, *MODEL, "--output", path)
    assert code == 0, err
    found = pd.read_parquet(path)
    assert (pd.Index(found["t"]) == index).all()
    np.testing.assert_array_equal(found["z"], values)
    assert found["z_outlier"].dtype == bool
    again = tmp_path / "b.csv"
    code, _, err = run("smooth", path, *COLUMNS, *MODEL, "--output", again)
    assert code == 2
    assert 'column "z_mean" has the name of a result for "z"' in err
    found[["t", "z"]].to_parquet(path)
    code, _, err = run("filter", path, *COLUMNS, *MODEL, "--output", again)
    assert code == 0, err
    assert again.read_text().splitlines()[0].startswith("t,z,z_mean,")


def test_progress_is_shown_on_terminals_where_it_takes_long(filtered, series, monkeypatch):
    times, values, _ = series
    monkeypatch.setattr("afa_core.command.progress.DELAY", 0.0)
    monkeypatch.setattr("sys.stderr", Terminal())
    filtered(times, values)
    assert "attending" in Terminal.text
    assert "reading " in Terminal.text


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    text = ""

    def isatty(self):
        return True

    def write(self, text):
        Terminal.text += text
        return len(text)
