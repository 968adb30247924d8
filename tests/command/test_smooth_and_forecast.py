"""The commands `smooth` and `forecast`: their tables, and the times of forecasts."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

COLUMNS = ("--time", "t", "--value", "z")
MODEL = ("--decay", 0, "--process-noise", 0.05, "--measurement-noise", 1)
WALK = {"decay": 0.0, "process": 0.05, "measurement": 1.0}

FORECAST = (
    *("mean", "sd", "measurement_sd", "lower", "upper"),
    *("measurement_lower", "measurement_upper"),
)


def lines(times, values):
    return ["t,z", *(f"{t},{z!r}" for t, z in zip(times, values, strict=True))]


@pytest.fixture
def ahead(run, write):
    """Forecast a series of given times; return the cells of the times, and the whole table."""

    def call(times, *options, values=None):
        values = np.sin(np.arange(len(times))).tolist() if values is None else values
        data = write(*lines(times, values))
        code, out, err = run("forecast", data, *COLUMNS, *MODEL, *options, "--force")
        assert code == 0, err
        rows = (data.parent / "data_forecast.csv").read_text().splitlines()
        assert f"  forecast        {len(rows) - 1} times\n" in out
        return [row.partition(",")[0] for row in rows[1:]], rows

    return call


@pytest.fixture
def refused(run, write):
    """Return the message with which a forecast is refused."""

    def call(times, *options):
        data = write(*lines(times, np.sin(np.arange(len(times))).tolist()))
        code, out, err = run("forecast", data, *COLUMNS, *MODEL, *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert list(data.parent.iterdir()) == [data]
        return err.removeprefix("afa_core: ").replace(f"{data}: ", "").rstrip("\n")

    return call


@pytest.mark.parametrize("robust", [True, False])
def test_smooth_gives_what_python_does(run, write, read, series, robust):
    times, values, _ = series
    data = write(*lines(times.tolist(), values.tolist()))
    option = () if robust else ("--no-robust",)
    code, out, err = run("smooth", data, *COLUMNS, *MODEL, *option)
    assert code == 0, err
    table = read(data.parent / "data_smoothed.csv")
    found = Filter(**WALK, robust=robust).fit(times, values).smooth()
    for name in ("mean", "sd", "prediction", "prediction_sd", "weight"):
        np.testing.assert_allclose(table[f"z_{name}"], getattr(found, name), rtol=1e-9)
    assert f"wrote {data.parent / 'data_smoothed.csv'}\n" in out


def test_forecast_gives_what_python_does(ahead, series, read, tmp_path):
    times, values, _ = series
    _, rows = ahead(times.tolist(), "--steps", 30, "--interval", 0.8, values=values.tolist())
    assert rows[0] == ",".join(["t", *(f"z_{name}" for name in FORECAST)])
    table = read(tmp_path / "data_forecast.csv")
    found = Filter(**WALK).fit(times, values).forecast(30)
    bounds = (*found.interval(0.8), *found.interval(0.8, of="measurement"))
    expected = (found.mean, found.sd, found.measurement_sd, *bounds)
    np.testing.assert_allclose(table["t"], found.times, rtol=1e-12)
    for name, x in zip(FORECAST, expected, strict=True):
        np.testing.assert_allclose(table[f"z_{name}"], x, rtol=1e-9)


DAYS = ["2024-01-30", "2024-01-31", "2024-02-01"]


@pytest.mark.parametrize(
    ("times", "options", "expected"),
    [
        ([0, 2, 4], ("--steps", 3), ["6", "8", "10"]),
        ([0, 2, 4], ("--until", 9), ["6", "8"]),
        ([0, 2, 4], ("--until", 10), ["6", "8", "10"]),
        ([0, 2, 4], ("--at", 4.5, 100), ["4.5", "100.0"]),
        ([0, 2, 4], ("--at", 5, 7), ["5", "7"]),
        ([10**18, 10**18 + 1, 10**18 + 2], ("--steps", 2), [f"{10**18 + 3}", f"{10**18 + 4}"]),
        (DAYS, ("--steps", 2), ["2024-02-02", "2024-02-03"]),
        (DAYS, ("--until", "2024-02-03"), ["2024-02-02", "2024-02-03"]),
        (DAYS, ("--at", "2024-03-01T12:00"), ["2024-03-01T12:00:00"]),
        ([f"{day}T00:00+02:00" for day in DAYS], ("--steps", 1), ["2024-02-01T22:00:00Z"]),
        (["30.01.2024", "31.01.2024"], ("--until", "02.02.2024"), ["2024-02-01", "2024-02-02"]),
        (
            ["2024-01", "2024-02", "2024-03", "2024-04"],
            ("--steps", 3),
            ["2024-05-01", "2024-06-01", "2024-07-01"],
        ),
        (
            [f"2024-{month:02}" for month in range(1, 13)],
            ("--until", "2025-03"),
            ["2025-01-01", "2025-02-01", "2025-03-01"],
        ),
        (
            [f"2024-01-01T00:00:00.{tick:03}" for tick in range(0, 40, 10)],
            ("--steps", 1),
            ["2024-01-01T00:00:00.040000000"],
        ),
        (list(reversed(DAYS)), ("--steps", 1), ["2024-02-02"]),
        (
            [f"5000-01-01T00:00:00.{tick}" for tick in range(4)],
            ("--steps", 1),
            ["5000-01-01T00:00:00.400000"],
        ),
        (
            [f"{century}-01-01T00:00:00.5" for century in ("1000", "3000", "5000")],
            ("--at", "9000-01-01"),
            ["9000-01-01T00:00:00.000000"],
        ),
        (
            [f"2024-01-01T00:00:00.000000{tick:03}" for tick in range(4)],
            ("--at", "9000-01-01"),
            ["9000-01-01T00:00:00.000000"],
        ),
    ],
)
def test_times_of_a_forecast(ahead, times, options, expected):
    assert ahead(times, *options)[0] == expected


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        ([0, 1, 2], ("--until", 2), "--until: must not be before the first step, 3, got '2'"),
        ([0, 1, 2], ("--until", -5), "--until: must not be before the first step, 3, got '-5'"),
        (DAYS, ("--until", "2024-02-01"), "--until: must not be before the first step, 2024-02-02"),
        ([0, 1, 2], ("--until", 10**9), "--until: '1000000000' is 1e+09 steps ahead. Pass --at"),
        (DAYS, ("--until", "9000-01-01"), "--until: '9000-01-01' is 2.55e+06 steps ahead. Pass"),
        ([0, 1, 2], ("--at", 2), "`ahead` must be later than the last time of the series, got 2"),
        ([0, 1, 2], ("--at", 5, 1), "must be later than the last time of the series, got 1"),
        ([0, 1, 2], ("--at", "soon"), 'argument --at: "soon": expected a number'),
        (DAYS, ("--until", "soon"), 'argument --until: "soon": expected a number or a date'),
        (DAYS, ("--until", "2024-02-05T00Z"), "expected a date without a zone"),
    ],
)
def test_times_that_are_refused(refused, times, options, message):
    assert message in refused(times, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "one of the arguments --steps --until --at is required"),
        (("--steps", 3, "--until", 9), "argument --until: not allowed with argument --steps"),
        (("--steps", 0), "argument --steps: must be a whole number ≥ 1, got '0'"),
        (("--steps", -3), "argument --steps: must be a whole number ≥ 1, got '-3'"),
        (("--steps", 1, "--backend", "numpy"), "unrecognized arguments: --backend numpy"),
    ],
)
def test_options_that_are_refused(refused, options, message):
    assert refused([0, 1, 2], *options).startswith(message)


@pytest.mark.parametrize(
    ("kind", "time", "values", "message"),
    [
        ("forecast", "x_mean", "x", '"x_mean" has the name of a result for "x". Rename it in'),
        (
            *("forecast", "t", "x x_measurement"),
            '"x_measurement_sd" would be a result for "x" and for "x_measurement". Rename one',
        ),
        ("smooth", "x_mean", "x", '"x_mean" has the name of a result for "x". Rename it in'),
        ("smooth", "t", "x x_prediction", '"x_prediction" has the name of a result for "x"'),
    ],
)
def test_columns_that_results_would_replace(run, write, monkeypatch, kind, time, values, message):
    """They are refused before anything is fitted."""
    monkeypatch.setattr(Filter, "fit", None)
    columns = values.split()
    rows = (",".join([str(t), *(str(t % 3) for _ in columns)]) for t in range(20))
    data = write(",".join([time, *columns]), *rows)
    options = [x for name in columns for x in ("--value", name)]
    options += ["--steps", 2] if kind == "forecast" else []
    code, out, err = run(kind, data, "--time", time, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert list(data.parent.iterdir()) == [data]


def test_columns_are_forecast_at_the_same_times(run, write):
    rows = (f"{t},{np.cos(t):.3f},{np.sin(t):.3f},{t % 3}" for t in range(60))
    data = write("t,x,y,z", *rows)
    columns = ("--time", "t", "--value", "z", "--pair", "x", "y")
    output = data.parent / "a.parquet"
    pytest.importorskip("pyarrow")
    import pandas as pd

    code, _, err = run("forecast", data, *columns, "--steps", 5, "--output", output)
    assert code == 0, err
    found = pd.read_parquet(output)
    assert list(found) == ["t", *(f"{name}_{each}" for name in "zxy" for each in FORECAST)]
    assert found["t"].tolist() == [60, 61, 62, 63, 64]
    np.testing.assert_allclose(found["x_mean"], np.cos(found["t"]), atol=0.1)
