"""Invisible tokens and times change nothing, whatever they hold."""

import numpy as np
import pytest

import afa_core as afa

from .problems import anchored, forms, leaves, models


@forms
@pytest.mark.parametrize(("non_finite", "causal"), [(np.nan, True), (np.inf, False)])
def test_invisible_keys_do_not_change_the_result(form, non_finite, causal, library, call):
    sde = models(library)[form]
    x, times = np.random.default_rng(0).standard_normal((4, 4)), np.asarray([0.0, 0.5, 2.0, 2.5])
    bad, bad_times = x.copy(), times.copy()
    bad[2], bad_times[2] = [non_finite, np.nan, np.inf, -np.inf], non_finite
    mask = library.from_numpy(np.asarray([True, True, False, True]))
    query = library.from_numpy(x)

    def run(tokens, times):
        tokens, times = library.from_numpy(tokens), library.from_numpy(times)
        queries = library.from_numpy(np.asarray([0.0, 0.5, 2.0, 2.5]))
        options = {"mask": mask, "causal": causal, **anchored(sde, query)}
        found = call(
            afa.estimate,
            query,
            tokens,
            tokens,
            sde,
            query_times=queries,
            key_times=times,
            **options,
        )
        return [library.to_numpy(each) for each in (found.mean, *leaves(found.precision))]

    for expected, result in zip(run(x, times), run(bad, bad_times), strict=True):
        np.testing.assert_array_equal(result, expected)


@forms
def test_later_keys_do_not_change_earlier_rows(form, library, call):
    sde = models(library)[form]
    x = np.random.default_rng(0).standard_normal((4, 4))
    bad = x.copy()
    bad[3] = np.nan
    query = library.from_numpy(x)
    expected, result = (
        library.to_numpy(call(afa.attention, query, tokens, tokens, sde, **anchored(sde, query)))
        for tokens in (library.from_numpy(x), library.from_numpy(bad))
    )
    np.testing.assert_array_equal(result[:3], expected[:3])
    assert np.isnan(result[3]).any()


def test_later_non_finite_times_do_not_change_earlier_rows(library):
    rng = np.random.default_rng(5)
    x, times = rng.normal(size=(6, 4)), np.cumsum(rng.exponential(size=6))
    sde = afa.IsotropicSDE(0.3, 0.7, afa.Noise(0.2, 1.0, 0.5))

    def attend(times):
        tokens, times = library.from_numpy(x), library.from_numpy(times)
        result = afa.attention(tokens, tokens, tokens, sde, query_times=times, key_times=times)
        return library.to_numpy(result)

    bad = np.where(np.arange(6) < 4, times, np.nan)
    np.testing.assert_allclose(attend(bad)[:4], attend(times)[:4], rtol=1e-12)
