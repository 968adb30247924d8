"""Outliers hardly move a robust fit."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

REGIMES = {
    "walk": {"decay": 0.0, "process": 0.25},
    "reverting": {"decay": 0.05, "process": 0.3},
    "slow": {"decay": 0.0, "process": 0.01},
}


@pytest.mark.parametrize("regime", REGIMES)
def test_outliers_hardly_move_the_noise(regime, simulate):
    """3 % of ten standard deviations: by at most 25 %, where the normal likelihood triples it."""
    ratios = {True: [], False: []}
    for seed in range(4):
        options = {**REGIMES[regime], "seed": seed}
        clean, dirty = simulate(**options), simulate(**options, outliers=0.03)
        table = np.stack([clean.values, dirty.values], axis=-1)
        for robust, found in ratios.items():
            one, other = Filter(robust=robust).fit(clean.times, table).measurement_
            found.append(other / one)
    assert abs(np.median(ratios[True]) - 1.0) < 0.25
    assert np.median(ratios[False]) > 2.0


def test_robust_and_normal_fits_of_clean_series_agree(simulate):
    for seed in range(3):
        times, _, values, _ = simulate(0.1, 0.5, seed=seed)
        one, other = (Filter(robust=robust).fit(times, values) for robust in (True, False))
        for name in ("decay", "process", "measurement"):
            difference = getattr(one, f"{name}_") - getattr(other, f"{name}_")
            assert abs(difference) < other.standard_errors_[name]


@pytest.mark.parametrize("size", [1e2, 1e12])
@pytest.mark.parametrize("pair", [False, True])
def test_single_gross_outliers(size, pair, simulate):
    """As if the measurement were missing, however large it is."""
    times, _, values, _ = simulate(0.1, 0.5, frequency=0.3 if pair else None, n=200)
    missing, gross = values.copy(), values.copy()
    missing[90], gross[90] = np.nan, size
    options = {"frequency": None} if pair else {}
    one, other = (Filter(**options).fit(times, x) for x in (missing, gross))
    assert other.measurement_ == pytest.approx(one.measurement_, rel=0.1)
    assert other.process_ == pytest.approx(one.process_, rel=0.2)
    assert other.log_likelihood_ < one.log_likelihood_


def test_shift_of_level_is_no_noise(simulate):
    times, _, values, _ = simulate(0.0, 0.25, n=300)
    shifted = values + np.where(times > times[200], 10.0, 0.0)
    one, other = (Filter(decay=0.0).fit(times, x) for x in (values, shifted))
    assert other.measurement_ == pytest.approx(one.measurement_, rel=0.25)
