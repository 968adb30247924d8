"""Smoothing before a series starts: what its first measurement tells, over any gap."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

GAPS = [1.0, 30.0, 1e3, 1e6]
MEASUREMENTS = [1.0, 1e-4, 1e-9]


def late(gap, measurement):
    """A walk, measured from `gap` after the first row on."""
    rng = np.random.default_rng(3)
    times = np.concatenate([[0.0], gap + np.cumsum(rng.exponential(size=40))])
    walk = 10.0 + np.cumsum(rng.standard_normal(41) * np.sqrt(np.diff(times, prepend=0.0)))
    values = walk - walk[1] + 10.0 + np.sqrt(measurement) * rng.standard_normal(41)
    values[0] = np.nan
    return times, values


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("measurement", MEASUREMENTS)
@pytest.mark.parametrize("gap", GAPS)
def test_a_walk_is_where_it_starts_and_known_as_badly_as_it_walks(gap, measurement, robust):
    """Spec §11: x̂(t₀) = x̂(t₁) and P(t₀) = P(t₁) + σ²(t₁ − t₀), t₁ the first measurement.

    Exactly if the smoother is exact; weights of a robust one differ with the query.
    """
    times, values = late(gap, measurement)
    found = Filter(0.0, 1.0, measurement, robust=robust).smooth(times, values)
    exact = 1e-9 if not robust else 0.5 * found.sd[1]
    assert found.mean[0] == pytest.approx(found.mean[1], abs=exact)
    variance = found.sd[1] ** 2 + times[1] - times[0]
    assert found.sd[0] ** 2 == pytest.approx(variance, rel=0.1 if robust else 1e-9)
    assert np.all(np.isfinite(found.prediction))


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("measurement", MEASUREMENTS)
@pytest.mark.parametrize("gap", GAPS)
def test_a_reverting_state_is_known_backwards(gap, measurement, robust):
    """Spec §11: x̂(t₀) = E x̂(t₁), P(t₀) = E²P(t₁) + V, towards the stationary σ²/2μ."""
    decay, level = 1e-4, 3.0
    times, values = late(gap, measurement)
    found = Filter(decay, 1.0, measurement, level, robust=robust).smooth(times, values)
    factor = np.exp(-decay * (times[1] - times[0]))
    mean = level + factor * (found.mean[1] - level)
    variance = factor**2 * found.sd[1] ** 2 + (1.0 - factor**2) / (2.0 * decay)
    assert found.mean[0] == pytest.approx(mean, abs=0.5 * found.sd[1] if robust else 1e-9)
    assert found.sd[0] ** 2 == pytest.approx(variance, rel=0.1 if robust else 1e-9)


@pytest.mark.parametrize("robust", [True, False])
def test_walks_and_reverting_series_of_a_table_are_as_if_alone(robust):
    times, values = late(500.0, 1e-3)
    decay = np.asarray([0.0, 0.05])
    table = np.stack([values, values], axis=-1)
    found = Filter(decay, 1.0, 1e-3, 3.0, robust=robust).smooth(times, table)
    for column, each in enumerate(decay):
        alone = Filter(each, 1.0, 1e-3, 3.0, robust=robust).smooth(times, values)
        for name in ("mean", "sd", "prediction", "prediction_sd"):
            np.testing.assert_allclose(
                getattr(found, name)[:, column], getattr(alone, name), rtol=1e-9
            )


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("process", [1e7, 1e10, 1e13, 1e20])
def test_predictions_of_precise_measurements_lie_between_their_neighbours(process, robust):
    """Spec §11: for σ²/η² → ∞, others predict the point of a line through the nearest two."""
    times = np.cumsum(np.random.default_rng(0).exponential(size=60))
    values = np.sqrt(process) * np.sin(times / 20.0)
    found = Filter(0.0, process, 1.0, robust=robust).smooth(times, values)
    before, after = np.diff(times)[:-1], np.diff(times)[1:]
    line = (after * values[:-2] + before * values[2:]) / (before + after)
    error = (found.prediction[1:-1] - line) / found.prediction_sd[1:-1]
    assert np.max(np.abs(error)) < 1e-4
    between = before * after / (before + after)
    np.testing.assert_allclose(found.prediction_sd[1:-1] ** 2, process * between, rtol=1e-3)


def test_a_prior_narrower_than_the_noise_is_known_to_the_robust_smoother(simulate):
    """Clean measurements of a state that hardly varies: as nearly the exact estimates as others."""
    decay, variance = 0.05, 0.02
    times, _, values, _ = simulate(decay, 2.0 * decay * variance, n=200, gaps=0.0)
    robust, exact = (
        Filter(decay, 2.0 * decay * variance, 1.0, 0.0, robust=x).smooth(times, values)
        for x in (True, False)
    )
    assert np.max(np.abs(robust.prediction - exact.prediction)) < 0.4 * np.sqrt(variance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_stationary_distribution_that_has_hardly_a_variance(dtype):
    """The state is at its level, whatever is measured."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    values = np.asarray([np.nan, 1.0, 2.0], dtype)
    found = Filter(10.0, 4.0 * tiny, 1.0, 3.0, robust=False).smooth(np.arange(3.0), values)
    for x in (found.mean, found.prediction):
        np.testing.assert_allclose(x, 3.0, rtol=1e-6)
    np.testing.assert_allclose(found.sd, 0.0, atol=1e-15)
