"""The frequency of a pair is found, of either sign and at irregular times."""

import tracemalloc

import numpy as np
import pytest

from afa_core.timeseries import Filter
from afa_core.timeseries.spectrum import peaks


@pytest.mark.parametrize("frequency", [0.35, -0.35, 2.5, -0.02])
@pytest.mark.parametrize("robust", [True, False])
def test_frequency_is_found(frequency, robust, simulate):
    series = simulate(
        0.02, 0.5, frequency=frequency, n=300, seed=1, outliers=0.03 if robust else 0.0
    )
    model = Filter(frequency=None, robust=robust).fit(series.times, series.values)
    error = model.standard_errors_["frequency"]
    assert error < 0.02
    assert abs(model.frequency_ - frequency) < 4.0 * error
    assert isinstance(model.level_, complex)


@pytest.mark.parametrize("frequency", [1.3, -0.4])
def test_peaks_of_a_spectrum(frequency):
    times = np.cumsum(np.random.default_rng(0).exponential(size=300))
    found = peaks(
        np.exp(1j * frequency * times)[None], times - times[0], np.ones((1, 300), dtype=bool)
    )
    assert found[0, 0] == pytest.approx(frequency, abs=0.02)
    assert 0.0 in found[0]


def test_spectra_of_many_series_take_the_memory_of_one():
    """And have the peaks of each; gaps make grids longer than series."""
    rng = np.random.default_rng(0)
    times = np.cumsum(np.where(rng.random(200) < 0.05, 500.0, 1.0))
    values = rng.standard_normal((32, 200)) + 1j * rng.standard_normal((32, 200))
    observed = rng.random((32, 200)) < 0.9
    most = []
    for count in (2, 32):
        tracemalloc.start()
        found = peaks(values[:count], times, observed[:count])
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < 1.5 * most[0]
    alone = np.concatenate(
        [peaks(values[k : k + 1], times, observed[k : k + 1]) for k in range(32)]
    )
    np.testing.assert_array_equal(found, alone)


def test_frequency_at_regular_times():
    times = np.arange(120.0)
    rng = np.random.default_rng(0)
    phase = 1.1 * times + np.cumsum(0.02 * rng.standard_normal(120))
    values = 5.0 * np.exp(1j * phase) + rng.standard_normal(120) + 1j * rng.standard_normal(120)
    model = Filter(frequency=None).fit(times, values)
    assert model.frequency_ == pytest.approx(1.1, abs=0.01)
    mirrored = Filter(frequency=None).fit(times, np.conj(values))
    assert mirrored.frequency_ == pytest.approx(-model.frequency_, abs=1e-4)
    slower = Filter(frequency=None).fit(10.0 * times, values)
    assert slower.frequency_ == pytest.approx(0.1 * model.frequency_, abs=1e-5)


def test_each_pair_has_a_frequency_of_its_own(simulate):
    each = [simulate(0.02, 0.5, frequency=w, n=250, seed=2) for w in (0.8, -0.3)]
    table = np.concatenate([x.values for x in each], axis=-1)
    model = Filter(frequency=None).fit(each[0].times, table)
    np.testing.assert_allclose(model.frequency_, [0.8, -0.3], atol=0.05)
    assert model.level_.shape == (2,)
    assert model.filter().mean.shape == (250, 4)


def test_levels_of_pairs_are_complex(simulate):
    times, _, values, _ = simulate(0.5, 0.5, level=4.0 - 3.0j, frequency=0.3, n=300)
    model = Filter(frequency=0.3).fit(times, values)
    error = model.standard_errors_["level"]
    assert abs(model.level_.real - 4.0) < 4.0 * error.real
    assert abs(model.level_.imag + 3.0) < 4.0 * error.imag
    given = Filter(level=4.0 - 3.0j, frequency=0.3).fit(times, values)
    assert given.level_ == 4.0 - 3.0j
    assert np.all(np.isfinite(given.filter().mean))
