"""Fitted parameters: published values, another library's, and what a change of units does."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

NAMES = ("decay", "process", "measurement", "level")


def parameters_of(model):
    return np.asarray([getattr(model, f"{name}_") for name in NAMES])


def errors_of(model):
    return np.asarray([model.standard_errors_[name] for name in NAMES])


@pytest.fixture(scope="module")
def nile():
    nile = pytest.importorskip("statsmodels.datasets.nile")
    return nile.load_pandas().data["volume"].to_numpy()


def test_nile_has_the_published_variances(nile):
    """Durbin and Koopman, "Time Series Analysis by State Space Methods", §2.2."""
    model = Filter(decay=0.0, robust=False).fit(np.arange(1871, 1971), nile)
    assert model.measurement_ == pytest.approx(15099, abs=1.0)
    assert model.process_ == pytest.approx(1469.1, abs=0.1)
    assert model.log_likelihood_ == pytest.approx(-632.5456, abs=1e-3)
    assert np.isnan(model.level_)


def test_local_level_of_statsmodels(nile):
    structural = pytest.importorskip("statsmodels.tsa.statespace.structural")
    values = nile.astype(float)
    values[20:30] = np.nan
    model = structural.UnobservedComponents(values, "llevel", use_exact_diffuse=True)
    theirs = model.fit(disp=False)
    ours = Filter(decay=0.0, robust=False).fit(np.arange(100), values)
    found = [ours.measurement_, ours.process_]
    first = 0.5 * np.log(2.0 * np.pi)  # what they count of the first measurement
    assert ours.log_likelihood_ == pytest.approx(model.loglike(found) + first, abs=1e-8)
    assert ours.log_likelihood_ >= theirs.llf + first - 1e-6
    assert found == pytest.approx(theirs.params, rel=5e-3)
    errors = [ours.standard_errors_[name] for name in ("measurement", "process")]
    assert errors == pytest.approx(theirs.bse, rel=0.05)


def test_autoregression_with_noise_of_statsmodels():
    sarimax = pytest.importorskip("statsmodels.tsa.statespace.sarimax")
    rng = np.random.default_rng(3)
    state = np.zeros(400)
    for i in range(1, 400):
        state[i] = 0.9 * state[i - 1] + 0.5 * rng.standard_normal()
    values = 3.0 + state + 0.7 * rng.standard_normal(400)
    values[100:120] = np.nan
    ours = Filter(robust=False).fit(np.arange(400.0), values)
    model = sarimax.SARIMAX(values, order=(1, 0, 0), trend="c", measurement_error=True)
    model.ssm.initialize_approximate_diffuse(1e8)
    model.ssm.loglikelihood_burn = 1
    factor = np.exp(-ours.decay_)
    process = ours.process_ * (1.0 - factor**2) / (2.0 * ours.decay_)
    found = [ours.level_ * (1.0 - factor), factor, ours.measurement_, process]
    assert ours.log_likelihood_ == pytest.approx(model.loglike(found), abs=1e-6)
    theirs = model.fit([0.5, 0.8, 0.5, 0.5], disp=False)
    assert ours.log_likelihood_ >= theirs.llf - 1e-6
    assert found == pytest.approx(theirs.params, rel=0.02)
    errors = ours.standard_errors_
    assert [errors["decay"] * factor, errors["measurement"]] == pytest.approx(
        theirs.bse[1:3], rel=0.1
    )


@pytest.mark.parametrize("robust", [True, False])
def test_columns_are_fitted_as_each_alone(robust, simulate):
    regimes = ({"decay": 0.0}, {"decay": 0.2, "level": 50.0}, {"process": 4.0, "outliers": 0.05})
    each = [simulate(**regime, n=100, seed=k) for k, regime in enumerate(regimes)]
    times = each[0].times
    table = np.stack([x.values for x in each], axis=-1)
    together = Filter(robust=robust).fit(times, table)
    for place in range(3):
        alone = Filter(robust=robust).fit(times, table[:, place])
        for name in (*NAMES, "log_likelihood", "aic"):
            one, of_all = getattr(alone, f"{name}_"), getattr(together, f"{name}_")[place]
            assert of_all == pytest.approx(one, rel=2e-3, abs=1e-9, nan_ok=True), name
        assert together.log_likelihood_[place] == pytest.approx(alone.log_likelihood_, abs=1e-5)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("regime", [{"decay": 0.1, "process": 0.5}, {"decay": 0.0}])
def test_units_of_values_and_times_are_arbitrary(robust, regime, simulate):
    times, _, values, _ = simulate(**regime, n=300, seed=1, outliers=0.02)
    model = Filter(robust=robust).fit(times, values)
    scale, shift, pace = -37.0, 1e5, 1e-3
    moved = Filter(robust=robust).fit(pace * times - 7.0, scale * values + shift)
    units = np.asarray([1.0 / pace, scale**2 / pace, scale**2, scale])
    expected = parameters_of(model) * units + np.asarray([0.0, 0.0, 0.0, shift])
    errors = errors_of(model)
    known = np.isfinite(errors)
    slack = 0.01 * np.where(known, errors, 0.0) * np.abs(units)
    close = np.abs(parameters_of(moved) - expected) <= slack + 1e-9 * np.abs(expected)
    assert np.all(close | np.isnan(expected))
    np.testing.assert_allclose(errors_of(moved), errors * np.abs(units), rtol=0.02)
    count = np.sum(np.isfinite(values)) - 1
    jacobian = count * np.log(abs(scale))
    assert moved.log_likelihood_ + jacobian == pytest.approx(model.log_likelihood_, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_very_small_and_large_units(scale, simulate):
    times, _, values, _ = simulate(0.1, 0.5, n=200)
    model, moved = Filter().fit(times, values), Filter().fit(times, values * scale)
    units = np.asarray([1.0, scale**2, scale**2, scale])
    np.testing.assert_allclose(parameters_of(moved), parameters_of(model) * units, rtol=1e-6)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        {"decay": 0.05},
        {"decay": 0.1, "level": 3.3},
        {"process": 0.7, "measurement": 0.3},
        {"process": 0.0},
        {"level": 1.0},
        {"measurement": 1e-40},
    ],
)
def test_given_parameters_stay(robust, given, simulate):
    times, _, values, _ = simulate(0.1, 0.5, n=150, seed=4)
    model = Filter(**given, robust=robust).fit(times, values)
    for name, x in given.items():
        assert getattr(model, f"{name}_") == x
        assert name not in model.standard_errors_
    fitted = [name for name in NAMES if name not in given]
    assert list(model.standard_errors_) == fitted
    free = Filter(robust=robust).fit(times, values)
    assert model.log_likelihood_ <= free.log_likelihood_ + (0.5 if robust else 1e-6)


def test_parameters_of_each_series(simulate):
    times, _, values, _ = simulate(0.1, 0.5, n=150, seed=4)
    decay = np.asarray([0.0, 0.2])
    model = Filter(decay=decay).fit(times, np.stack([values, values], axis=-1))
    np.testing.assert_array_equal(model.decay_, decay)
    assert np.isnan(model.level_[0])
    assert np.isfinite(model.level_[1])
    assert np.isnan(model.standard_errors_["level"][0])
    alone = Filter(decay=0.2).fit(times, values)
    assert model.process_[1] == pytest.approx(alone.process_, rel=1e-3)


@pytest.mark.parametrize("robust", [True, False])
def test_decay_is_zero_where_that_is_likeliest(robust, simulate):
    """Of walks that begin far from a given level, and do not revert to it."""
    decays = []
    for seed in range(5):
        times, _, values, _ = simulate(n=200, seed=seed)
        free = Filter(level=-20.0, robust=robust).fit(times, values)
        walk = Filter(decay=0.0, robust=robust).fit(times, values)
        decays.append(free.decay_)
        assert free.log_likelihood_ > walk.log_likelihood_ - (0.01 if robust else 1e-6)
        if free.decay_ == 0.0:
            assert free.log_likelihood_ == pytest.approx(walk.log_likelihood_, abs=1e-4)
            assert np.isnan(free.standard_errors_["decay"])
            assert np.isnan(free.level_)
    assert 0.0 in decays
    assert np.max(decays) > 0.0


@pytest.mark.parametrize("robust", [True, False])
def test_fitted_parameters_are_likelier_than_others(robust, simulate):
    """The fit, in many small and awkward series, is not where the search began."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        times, _, values, _ = simulate(0.3, 1.0, n=5 + seed, seed=seed, gaps=0.0)
        model = Filter(decay=0.0, robust=robust).fit(times, values)
        for _ in range(3):
            process, measurement = np.exp(2.0 * rng.standard_normal(2))
            other = Filter(0.0, process, measurement, robust=robust).fit(times, values)
            assert other.log_likelihood_ <= model.log_likelihood_ + (0.3 if robust else 1e-6)


def test_search_leaves_where_it_begins():
    """Of three measurements too, where a first step is far too long."""
    model = Filter(decay=0.0).fit(np.arange(3.0), [1.0, 2.0, 4.0])
    assert model.log_likelihood_ == pytest.approx(-3.9550568, abs=1e-5)
    assert model.process_ == pytest.approx(3.3425, rel=1e-3)
    assert np.isnan(model.standard_errors_["measurement"])  # at its bound, zero


def test_standard_errors_are_those_of_repetitions(simulate):
    truth = np.asarray([0.2, 1.0, 1.0, 2.0])
    scores = []
    for seed in range(20):
        times, _, values, _ = simulate(*truth, n=300, seed=seed)
        model = Filter(robust=False).fit(times, values)
        scores.append((parameters_of(model) - truth) / errors_of(model))
    spread = np.sqrt(np.mean(np.square(scores), axis=0))
    assert np.all((spread > 0.6) & (spread < 1.6)), spread


def test_second_fit_is_as_the_first_of_a_new_filter(simulate):
    one, other = simulate(n=100, seed=0), simulate(0.3, 5.0, n=80, seed=1)
    model = Filter().fit(other.times, np.stack([other.values] * 2, axis=-1))
    model.fit(one.times, one.values)
    fresh = Filter().fit(one.times, one.values)
    np.testing.assert_array_equal(parameters_of(model), parameters_of(fresh))
    assert model.summary() == fresh.summary()
    np.testing.assert_array_equal(model.filter().mean, fresh.filter().mean)
    assert model.filter(other.times, other.values).mean.shape == (80,)


def test_large_offsets(simulate):
    times, _, values, _ = simulate(0.1, 0.5, n=200)
    near = Filter().fit(times, values)
    far = Filter().fit(times + 1e6, values + 1e9)
    np.testing.assert_allclose(parameters_of(far)[:3], parameters_of(near)[:3], rtol=1e-4)
    assert far.level_ - 1e9 == pytest.approx(near.level_, abs=1e-3)


@pytest.mark.parametrize("values", [np.repeat([0.0, 1.0], 50), np.arange(100) % 25 == 0])
def test_few_distinct_values(values):
    """The median distance from the median is zero, or the likelihood unbounded."""
    model = Filter().fit(np.arange(100.0), np.asarray(values, dtype=float))
    assert np.all(np.isfinite(parameters_of(model)[:3]))
    assert np.isfinite(model.log_likelihood_)


def test_summary_names_the_parameters_and_the_likelihood(simulate):
    times, _, values, _ = simulate(0.1, 0.5, n=100)
    model = Filter(measurement=1.0).fit(times, np.stack([values, values + 5.0], axis=-1))
    blocks = model.summary().split("\n\n")
    assert len(blocks) == 2
    count = int(np.sum(np.isfinite(values)))
    for place, block in enumerate(blocks):
        lines = block.splitlines()
        assert lines[0] == f"{place}: {count} measurements in 100 rows"
        names = [line.split()[0] for line in lines[1:]]
        assert names[:3] == ["decay", "process", "measurement"]
        assert "(given)" in lines[3]
        assert "(fitted, standard error" in lines[2]
        assert lines[-1].startswith(f"  log-likelihood  {model.log_likelihood_[place]:.4f}")
        assert "Student-t, 4 degrees of freedom" in lines[-1]
