"""Default times, integer times, and times far from zero."""

import numpy as np
import pytest

import afa_core as afa

from .problems import anchored, forms, models, normal


@forms
def test_default_times(form, library, call):
    sde, x = models(library)[form], normal(library, 4, 4)
    last, default = x[2:, :], library.from_numpy(np.arange(4.0))
    options = anchored(sde, last)
    whole = library.to_numpy(call(afa.attention, x, x, x, sde, **anchored(sde, x)))

    def run(query, **times):
        given = anchored(sde, query)
        return library.to_numpy(call(afa.attention, query, x, x, sde, **times, **given))

    for times in (
        {"key_times": default},
        {"query_times": default},
        {"key_times": default, "query_times": default},
        {"key_times": library.from_numpy(np.arange(4))},
        {"key_times": library.from_numpy(np.arange(4, dtype="int8")), "query_times": default},
    ):
        np.testing.assert_allclose(run(x, **times), whole, rtol=1e-12)
    result = library.to_numpy(call(afa.attention, last, x, x, sde, **options))
    np.testing.assert_allclose(result, whole[2:], rtol=1e-12)
    result = library.to_numpy(call(afa.attention, last, x, x, sde, key_times=default, **options))
    np.testing.assert_allclose(result, whole[2:], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_integer_times_do_not_wrap(dtype, library, call):
    far = {"int8": 100, "int32": 2_000_000_000}[dtype]
    times = np.asarray([-far, 0, far])
    sde, x = models(library)["isotropic"]._replace(decay=1.0 / far), normal(library, 3, 4)
    narrow, wide = (
        call(afa.attention, x, x, x, sde, key_times=library.from_numpy(times.astype(each)))
        for each in (dtype, "float64")
    )
    np.testing.assert_allclose(library.to_numpy(narrow), library.to_numpy(wide), rtol=1e-9)


@forms
def test_common_shift_of_times_changes_rounding_only(form, library, call):
    sde, rng = models(library)[form], np.random.default_rng(0)
    x = library.from_numpy(rng.standard_normal((4, 4)).astype("float32"))
    times = np.cumsum(rng.integers(1, 9, 4) / 8.0)
    here, there = (
        library.to_numpy(call(afa.attention, x, x, x, sde, key_times=library.from_numpy(each)))
        for each in (times, times + 1e9)
    )
    np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-6)
