"""The parameters of a filter, as scikit-learn reads, sets and copies them."""

import copy
import pickle

import numpy as np
import pytest

from afa_core.timeseries import Filter

GOOD = {"decay": 0.1, "process": 0.3, "measurement": 1.0, "level": 0.0}


def test_parameters_are_those_of_the_constructor():
    model = Filter(0.1, level=2.0, dof=3.0, unit="h", window=7)
    parameters = model.get_params()
    assert parameters["decay"] == 0.1
    assert parameters["window"] == 7
    copied = type(model)(**model.get_params(deep=False))
    assert copied.get_params() == parameters
    assert all(copied.get_params()[name] is x for name, x in parameters.items())
    assert model.set_params(dof=5.0, decay=None) is model
    assert (model.dof, model.decay) == (5.0, None)
    with pytest.raises(ValueError, match="`degrees` must be one of decay, process, measurement"):
        model.set_params(dof=9.0, degrees=1)
    assert model.dof == 5.0


def test_clone_of_scikit_learn():
    clone = pytest.importorskip("sklearn.base").clone
    model = Filter(decay=np.asarray([0.0, 0.1])).set_params(dof=5.0)
    assert clone(model).dof == 5.0


def test_text_names_what_is_not_the_default():
    assert repr(Filter()) == repr(Filter(frequency=0.0, dof=4.0, robust=True)) == "Filter()"
    assert repr(Filter(0.0, dof=3.0)) == "Filter(decay=0.0, dof=3.0)"
    assert repr(Filter(decay=np.zeros(2))) == "Filter(decay=array([0., 0.]))"


def test_constructor_checks_and_changes_nothing():
    odd = object()
    assert Filter(odd).decay is odd


def test_copies_of_a_fitted_filter(simulate):
    series = simulate(n=60)
    model = Filter().fit(series.times, series.values)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.forecast(2).mean, model.forecast(2).mean)


CHANGES = {
    "decay": 5.0,
    "process": 5.0,
    "measurement": 5.0,
    "level": 5.0 + 1.0j,
    "frequency": 0.5,
    "dof": 0.5,
    "robust": False,
    "threshold": 0.1,
    "window": 1,
    "unit": "s",
}


@pytest.mark.parametrize("name", Filter().get_params())
def test_what_is_changed_after_a_fit_takes_effect_at_the_next(name, simulate):
    """Results of the old fit do not change, neither do those of its copies."""
    series = simulate(n=60, outliers=0.1)
    dates = np.datetime64("2024-01-01") + (86400.0 * series.times).astype("timedelta64[s]")
    table = np.stack([series.values, np.roll(series.values, 7)], axis=-1)

    def results(model):
        again = model.filter(dates, table)
        estimates = (*model.filter()[2:8], *model.smooth()[2:8], *again[2:8])
        return *estimates, *model.forecast(2)[1:4], model.weights(20).weights, model.summary()

    model = Filter().fit(dates, table)
    right = results(model)
    model.set_params(**{name: CHANGES[name]})
    assert model.get_params()[name] == CHANGES[name]
    assert f"{name}=" in repr(model)
    for one in (model, pickle.loads(pickle.dumps(model))):
        for x, y in zip(results(one), right, strict=True):
            np.testing.assert_array_equal(x, y)


def numpy_arrays(times, table):
    return times, table


def masked_arrays(times, table):
    return times, np.ma.masked_invalid(table)


def torch_arrays(times, table):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(times), torch.from_numpy(table)


def lists(times, table):
    return times.tolist(), table.tolist()


def series_of_pandas(times, table):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(table, index=times, copy=False), None


def dates(times, table):
    return times.astype("datetime64[s]"), table


@pytest.mark.parametrize(
    "kind", [numpy_arrays, masked_arrays, torch_arrays, lists, series_of_pandas, dates]
)
def test_inputs_that_are_written_to_after_a_fit(kind, simulate):
    """Neither estimates nor forecasts of the fit change, nor its times and values."""
    series = simulate(n=40)
    times, table = series.times.copy(), np.stack([series.values, series.values[::-1]], axis=-1)
    given = kind(times, table)
    model = Filter(**GOOD).fit(*given)

    def results():
        found, ahead = model.filter(), model.forecast(2)
        arrays = (*found[:8], *model.smooth()[:8], found.residual, *ahead[:4])
        return [np.asarray(x).copy() for x in (*arrays, *model.weights(9))]

    right = results()
    for x in (times, table, *given):
        if isinstance(x, list):
            x[:] = x[::-1]
            if isinstance(x[0], list):
                x[0][0] = 5.0
        elif x is not None and not hasattr(x, "set_axis"):
            x[:] = x[0]
    for one, other in zip(results(), right, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", Filter().get_params())
def test_what_is_bad_is_refused_by_the_next_fit(name):
    times, values = np.arange(9.0), np.arange(9.0) ** 2
    model = Filter(**GOOD).fit(times, values).set_params(**{name: BAD[name][0][0]})
    np.testing.assert_array_equal(model.smooth().mean, Filter(**GOOD).smooth(times, values).mean)
    with pytest.raises(BAD[name][0][1], match=f"`{name}` must be"):
        model.fit(times, values)


def test_the_next_fit_has_what_was_changed(simulate):
    times, _, values, _ = simulate(n=60)
    changed = {"threshold": 0.1, "dof": 9.0, "frequency": 0.3, "window": 10}
    table = np.stack([values, np.roll(values, 7)], axis=-1)
    model = Filter().fit(times, table).set_params(**changed).fit(times, table)
    found, right = model.filter(), Filter(**changed).fit(times, table).filter()
    np.testing.assert_array_equal(found.outlier, right.outlier)
    np.testing.assert_array_equal(found.mean, right.mean)


BAD = {
    "decay": [(-1.0, ValueError, "≥ 0, got -1"), ("a", TypeError, "got str")],
    "process": [(-1.0, ValueError, "≥ 0, got -1"), (np.nan, ValueError, "≥ 0, got nan")],
    "measurement": [(0.0, ValueError, "> 0, got 0"), ([1.0], TypeError, "got list")],
    "level": [
        (np.inf, ValueError, "finite, got inf"),
        (1.0 + 1.0j, TypeError, "real for series"),
        (complex(0.0, np.nan), ValueError, "finite, got nan"),
    ],
    "frequency": [(np.nan, ValueError, "finite, got nan")],
    "dof": [
        (0.0, ValueError, "> 0, got 0"),
        (None, TypeError, "Python number, got NoneType"),
        (np.ones(2), TypeError, "Python number, got ndarray"),
    ],
    "threshold": [
        (np.nan, ValueError, "> 0, got nan"),
        (-1.0, ValueError, "> 0, got -1"),
        (None, TypeError, "Python number, got NoneType"),
    ],
    "window": [(0, ValueError, "≥ 1, got 0"), (1.5, ValueError, "≥ 1, got 1.5")],
    "unit": [("x", ValueError, "one of W, D, h"), (None, ValueError, "one of W, D, h")],
    "robust": [("no", TypeError, "True or False, got 'no'")],
}


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in BAD.items() for case in cases]
)
def test_bad_parameters(name, case):
    x, kind, message = case
    with pytest.raises(kind, match=f"`{name}` must be .*{message}") as caught:
        Filter(**GOOD | {name: x}).filter([0.0, 1.0], [1.0, 2.0])
    assert "\n" not in str(caught.value)
    with pytest.raises(kind, match=f"`{name}` must be"):
        Filter(**{name: x}).fit(np.arange(9.0), np.arange(9.0) ** 2)


def test_parameters_for_each_series():
    times, table = np.arange(6.0), np.ones((6, 3))
    with pytest.raises(ValueError, match=r"`decay` must be a number or have shape \(3,\)"):
        Filter(decay=np.zeros(2)).fit(times, table + np.random.default_rng(0).random((6, 3)))
    with pytest.raises(ValueError, match="`values` must have 2 series"):
        Filter(**GOOD | {"decay": np.zeros(2)}).filter(times, table)


@pytest.mark.parametrize("missing", GOOD)
def test_parameters_must_be_given_or_fitted(missing):
    with pytest.raises(ValueError, match=f"`{missing}` must be given or fitted, got None"):
        Filter(**GOOD | {missing: None}).filter([0.0, 1.0], [1.0, 2.0])


def test_walk_needs_no_level():
    found = Filter(0.0, 0.3, 1.0).filter([0.0, 1.0], [1.0, 2.0])
    assert np.all(np.isfinite(found.mean))


@pytest.mark.parametrize("name", ["forecast", "filter", "smooth", "summary"])
def test_fit_comes_first(name):
    arguments = (1,) if name == "forecast" else ()
    with pytest.raises(ValueError, match=r"`fit` must be called first.*Call fit\(times, values\)"):
        getattr(Filter(), name)(*arguments)
