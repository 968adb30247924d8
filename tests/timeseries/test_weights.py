"""The attention weights of the latest measurements: the estimates are made of them."""

import numpy as np
import pytest

from afa_core.timeseries import Filter


@pytest.fixture
def walk(simulate):
    """A random walk with gaps, and which of its rows are measured."""
    times, _, values, _ = simulate(n=300)
    return times, values, np.isfinite(values)


def test_exact_weights_make_the_estimates(walk):
    times, values, seen = walk
    model = Filter(0.0, 0.25, 1.0, robust=False).fit(times, values)
    found = model.weights(80)
    assert found.weights.shape == (80, 80)
    np.testing.assert_array_equal(found.times, times[seen][-80:])
    np.testing.assert_array_equal(found.weights, np.tril(found.weights))
    late = slice(40, None)  # earlier ones have not forgotten what is before the weights
    np.testing.assert_allclose(np.sum(found.weights[late], axis=-1), 1.0, atol=1e-6)
    made = found.weights @ values[seen][-80:]
    np.testing.assert_allclose(made[late], model.filter().mean[seen][-80:][late], atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("process", [1e-8, 1e-3, 0.25])
def test_weights_are_what_a_measurement_moves_the_last_estimate_by(process, decay, simulate):
    """∂x̂(t)/∂z_j = a_j e^{−μ(t − t_j)}, also where the filter remembers ten times as many."""
    times, _, values, _ = simulate(n=1000)
    model = Filter(decay, process, 1.0, 0.0, robust=False)
    found = model.fit(times, values).weights(50)
    seen = np.flatnonzero(np.isfinite(values))[-50:]
    moved = np.tile(values[:, None], (1, 51))
    moved[seen, np.arange(50)] += 1.0
    last = model.filter(times, moved).mean[seen[-1]]
    carried = np.exp(-decay * (times[seen[-1]] - times[seen]))
    np.testing.assert_allclose(
        found.weights[-1] * carried, last[:50] - last[50], rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize("process", [1e-8, 0.25])
def test_robust_weights_of_like_measurements_are_the_exact_ones(process):
    times, values = np.cumsum(np.random.default_rng(0).exponential(size=1000)), np.ones(1000)
    robust, exact = (
        Filter(0.0, process, 1.0, robust=x).fit(times, values).weights(50) for x in (True, False)
    )
    np.testing.assert_allclose(robust.weights, exact.weights, rtol=1e-6, atol=1e-12)


def test_all_weights_of_a_short_series(walk):
    times, values, seen = walk
    for robust in (True, False):
        found = Filter(0.0, 0.25, 1.0, robust=robust).fit(times, values).weights(10_000)
        np.testing.assert_array_equal(found.times, times[seen])
        np.testing.assert_allclose(np.sum(found.weights, axis=-1), 1.0, rtol=1e-9)


def test_robust_weights_pass_over_outliers(walk):
    times, values, seen = walk
    place = np.flatnonzero(seen)[-20]
    values[place] += 50.0
    model = Filter(0.0, 0.25, 1.0).fit(times, values)
    found = model.weights(80)
    (column,) = np.flatnonzero(found.times == times[place])
    assert np.max(found.weights[column:, column]) < 0.01
    made = found.weights @ values[seen][-80:]
    np.testing.assert_allclose(made[40:], model.filter().mean[seen][-40:], atol=1e-4)


def test_bad_input(walk):
    times, values, _ = walk
    model = Filter(0.0, 0.25, 1.0).fit(times, values)
    with pytest.raises(ValueError, match="`last` must be a number of measurements ≥ 1, got 0"):
        model.weights(0)
    with pytest.raises(ValueError, match="`series` must be from 0 to 0, got 1"):
        model.weights(series=1)
    with pytest.raises(ValueError, match="Call fit"):
        Filter(0.0, 0.25, 1.0).weights()
