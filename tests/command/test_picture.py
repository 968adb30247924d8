"""The pictures of the commands: what they show, names that are no formulas, dates on the axis."""

import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.text import Text

from afa_core.backend import load
from afa_core.command.series import Model, estimate, fit_columns
from afa_core.command.table import Layout, read_table

MODEL = ("--decay", 0, "--process-noise", 0.05, "--measurement-noise", 1)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written."""
    found = []

    def write(path, figure):
        figure.canvas.draw()  # fails on a formula that cannot be read
        found.append(figure)

    monkeypatch.setattr("afa_core.command.picture.write_picture", write)
    return found


@pytest.fixture
def draw(run, write, figures):
    """Run a command that draws; return the axes of each column by their names."""

    def call(command, rows, *options, header="t,z"):
        data = write(header, *rows)
        time, *columns = header.split(",")
        values = [x for name in columns for x in ("--value", name)]
        picture = data.parent / "a.png"
        code, _, err = run(
            command, data, "--time", time, *values, "--plot", picture, *MODEL, *options
        )
        assert code == 0, err
        return [{axis.get_label(): axis for axis in part.axes} for part in figures[-1].subfigs]

    return call


@pytest.fixture
def rows(series):
    times, values, _ = series
    return [f"{t!r},{z!r}" for t, z in zip(times.tolist(), values.tolist(), strict=True)]


def labels(axis):
    return axis.get_legend_handles_labels()[1]


def test_filter_shows_the_series_and_its_residuals(draw, rows, series):
    times, values, outliers = series
    (panels,) = draw("filter", rows)
    top, below = panels["series"], panels["residual"]
    assert labels(top) == ["measured", "95 %", "estimate", "outlier"]
    dots, _, flagged = top.get_lines()
    np.testing.assert_array_equal(dots.get_xdata(), times)
    np.testing.assert_array_equal(dots.get_ydata(), values)
    np.testing.assert_array_equal(flagged.get_xdata(), times[outliers])
    *limits, residuals, marked = below.get_lines()
    assert [line.get_ydata()[0] for line in limits] == [-2.0, 0.0, 2.0]
    np.testing.assert_array_equal(marked.get_xdata(), times[outliers])
    residual = residuals.get_ydata()
    assert np.abs(residual[outliers]).min() > 3.5
    assert np.nanmax(np.abs(np.delete(residual, outliers))) < 3.5
    assert (top.get_ylabel(), below.get_ylabel(), below.get_xlabel()) == ("z", "residual / sd", "t")
    assert top.get_shared_x_axes().joined(top, below)


def test_the_level_of_the_interval_is_said(draw, rows):
    (panels,) = draw("smooth", rows, "--interval", 0.5)
    assert "50 %" in labels(panels["series"])


def test_forecasts_follow_the_series(draw, rows, series):
    (panels,) = draw("forecast", rows, "--steps", 20)
    top, below = panels["series"], panels["residual"]
    assert labels(top)[-2:] == ["95 % of measurements", "forecast"]
    times = top.get_lines()[-1].get_xdata()
    assert (len(times), times[0] > series[0][-1]) == (20, True)
    assert below.get_xlim() == top.get_xlim()


@pytest.mark.parametrize(("steps", "shown"), [(1, 200), (30, 300), (500, 1000)])
def test_the_last_rows_are_shown_before_a_forecast(draw, steps, shown):
    values = np.random.default_rng(0).normal(size=1000)
    rows = [f"{t},{z!r}" for t, z in enumerate(values.tolist())]
    (panels,) = draw("forecast", rows, "--steps", steps)
    times = panels["series"].get_lines()[0].get_xdata()
    np.testing.assert_array_equal(times, np.arange(1000)[-shown:])


def test_weights_are_drawn_on_request(draw, rows):
    (panels,) = draw("filter", rows, "--weights")
    heat = panels["weights"]
    assert heat.get_title() == "attention weights"
    assert heat.collections[0].get_array().size == 120**2
    assert heat.yaxis_inverted()
    assert panels["<colorbar>"].get_ylabel() == "weight"


def test_weights_without_a_picture_are_refused(run, write):
    data = write("t,z", "0,1", "1,2")
    code, out, err = run("filter", data, "--time", "t", "--value", "z", "--weights")
    assert (code, out) == (2, "")
    assert err == "afa_core: argument --weights: is a part of the picture; name one by --plot.\n"


NAMES = ["cost $/kWh", "$x_1^2$", "a_b", "_hidden", r"\frac{1}{2}", "50 %", "日本", "x^2 {"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_formulas(draw, rows, name):
    parts = draw("filter", rows, "--weights", header=f"time {name},{name}")
    figure = parts[0]["series"].figure.figure
    texts = {text.get_text().replace(r"\$", "$"): text for text in figure.findobj(Text)}
    for place in ("{}", "time {}", "time {} of the measurement", "time {} of the estimate"):
        text = texts[place.format(name)]
        assert not (text.get_parse_math() and is_math_text(text.get_text()))


def test_every_column_has_its_panels(draw, series):
    times, values, _ = series
    rows = [f"{t},{z},{-z},{z}" for t, z in zip(times, values, strict=True)]
    parts = draw("filter", rows, header="t,z,y,x")
    assert [panels["series"].get_ylabel() for panels in parts] == ["z", "y", "x"]


def test_names_are_those_of_the_columns_whatever_the_library(draw, rows):
    pytest.importorskip("torch")
    (panels,) = draw("filter", rows, "--backend", "torch")
    assert panels["series"].get_ylabel() == "z"


def test_dates_are_dates_on_the_axis(draw, series):
    days = np.datetime64("2024-01-01") + np.arange(120)
    rows = [f"{day},{z!r}" for day, z in zip(days, series[1].tolist(), strict=True)]
    (panels,) = draw("filter", rows, "--weights")
    shown = [panels[name].xaxis for name in ("series", "residual", "weights")]
    for axis in (*shown, panels["weights"].yaxis):
        assert isinstance(axis.get_major_locator(), AutoDateLocator)
        assert isinstance(axis.get_major_formatter(), ConciseDateFormatter)


def test_rows_in_any_order_give_the_same_picture(draw, rows):
    order = np.random.default_rng(0).permutation(len(rows))
    (panels,) = draw("filter", [rows[place] for place in order])
    times = panels["series"].get_lines()[1].get_xdata()
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_weights_are_those_of_the_estimates(write, rows, series, robust, decay):
    data = write("t,z", *rows)
    table = read_table(str(data), "t", ["z"], Layout())
    model = Model(("z",), decay=decay, process=0.05, measurement=1.0, level=0.5, robust=robust)
    (fitted,) = fit_columns(table, model)
    fitted = estimate(fitted, table, "filter", load("numpy"))
    weights = fitted.model.weights(200).weights
    times, values, _ = series
    lag = times[:, None] - times
    carried = np.exp(-decay * np.maximum(lag, 0.0)) * (values - 0.5 * (decay > 0.0))
    mean = 0.5 * (decay > 0.0) + np.sum(weights * carried, axis=1)
    np.testing.assert_allclose(np.sum(weights, axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(mean, fitted.found.mean[:, 0], atol=1e-6)
