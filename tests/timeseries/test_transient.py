"""States that decay to a level without process noise: smoothing finds the curve."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

DECAY, LEVEL, START = 0.05, 20.0, 10.0


@pytest.fixture
def cooling():
    """A curve from 30 to 20 with unit noise and gaps, without outliers."""
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.exponential(size=300))
    curve = LEVEL + START * np.exp(-DECAY * (times - times[0]))
    values = curve + rng.standard_normal(300)
    values[rng.random(300) < 0.1] = np.nan
    return times, curve, values


@pytest.mark.parametrize("robust", [True, False])
def test_fit_finds_that_there_is_no_process_noise(robust, cooling):
    times, curve, values = cooling
    model = Filter(robust=robust).fit(times, values)
    assert model.process_ == 0.0
    assert model.decay_ == pytest.approx(DECAY, rel=0.2)
    assert model.level_ == pytest.approx(LEVEL, abs=0.3)
    found = model.smooth()
    assert np.sqrt(np.mean((found.mean - curve) ** 2)) < 0.3
    np.testing.assert_allclose(found.mean[-1], model.filter().mean[-1], rtol=1e-3)


@pytest.mark.parametrize("place", [0, 40])
def test_outliers_do_not_move_the_curve(place, cooling):
    times, _, values = cooling
    model = Filter(DECAY, 0.0, 1.0, LEVEL)
    clean = model.smooth(times, values)
    shifted = values.copy()
    shifted[place : place + 3] += 1e3
    found = model.smooth(times, shifted)
    np.testing.assert_allclose(found.mean, clean.mean, atol=0.5)
    assert np.all(found.outlier[place : place + 3])
    assert np.sum(found.outlier) <= 4
    exact = Filter(DECAY, 0.0, 1.0, LEVEL, robust=False).smooth(times, values)
    np.testing.assert_allclose(clean.mean, exact.mean, atol=0.2)
    assert np.all(clean.sd >= exact.sd * (1.0 - 1e-12))


def test_a_pair_that_rotates_is_smoothed_along_its_spiral(simulate):
    times, state, values, _ = simulate(DECAY, 1e-300, frequency=0.7, n=60)
    spiral = 9.0 * np.exp((-DECAY + 0.7j) * (times - times[0]))
    noise = values - np.stack([state.real, state.imag], axis=-1)
    noisy = np.stack([spiral.real, spiral.imag], axis=-1) + noise
    found = Filter(DECAY, 0.0, 1.0, 0.0, 0.7, robust=False).smooth(times, noisy)
    seen = np.all(np.isfinite(noisy), axis=-1)
    column = np.exp((-DECAY + 0.7j) * (times - times[0]))
    right = np.linalg.lstsq(column[seen, None], noisy[seen, 0] + 1j * noisy[seen, 1])[0][0]
    np.testing.assert_allclose(found.mean[:, 0] + 1j * found.mean[:, 1], right * column, atol=1e-9)


def test_before_a_late_start_the_curve_is_known_as_badly_as_it_grows(cooling):
    times, _, values = cooling
    late = np.where(times < times[-1] - 60.0, np.nan, values)
    table = np.stack([values, late, np.full(300, np.nan)], axis=-1)
    found = Filter(DECAY, 0.0, 1.0, LEVEL).smooth(times, table)
    first = int(np.argmax(np.isfinite(late)))
    growth = np.exp(DECAY * (times[first] - times[:first]))
    np.testing.assert_allclose(found.sd[:first, 1], growth * found.sd[first, 1], rtol=1e-9)
    assert np.all(np.isnan(found.sd[:, 2]))
    walk = np.stack([values, values], axis=-1)
    mixed = Filter(DECAY, np.asarray([0.0, 0.3]), 1.0, LEVEL).smooth(times, walk)
    alone = Filter(DECAY, 0.3, 1.0, LEVEL).smooth(times, values)
    np.testing.assert_allclose(mixed.mean[:, 1], alone.mean, rtol=1e-12)
    np.testing.assert_allclose(mixed.mean[:, 0], found.mean[:, 0], rtol=1e-6)


@pytest.mark.parametrize("robust", [True, False])
def test_others_predict_a_measurement_that_tells_nearly_all(robust):
    """Of a curve that has decayed by 10⁻⁹ after it, the second tells how large it was."""
    times = np.asarray([0.0, 1.0, 2.0])
    decay = 9.0 * np.log(10.0)
    found = Filter(decay, 0.0, 1.0, 0.0, robust=robust).smooth(times, [4.0, 3.0, 2.0])
    assert found.prediction[0] == pytest.approx(3e9)
    assert found.prediction_sd[0] == pytest.approx(1e9, rel=0.7 if robust else 1e-9)
