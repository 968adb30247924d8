"""Parameters that are Python's or NumPy's numbers, and arguments that are read-only."""

import numpy as np
import pytest

import afa_core as afa

from .problems import FORMS, NOISE, forms, models, normal


def test_numpy_numbers_are_accepted_as_numbers(library, call):
    """NumPy's float64 is a Python float: it mixes with every library and widens nothing."""
    x = library.from_numpy(np.random.default_rng(0).standard_normal((3, 4)).astype("float32"))
    number = np.float64(0.25)
    plain, numpy = (
        call(
            afa.attention,
            x,
            x,
            x,
            afa.IsotropicSDE(each, each, afa.Noise(each, each, each)),
            weighting=afa.StudentT(each),
            inverse_temperature=each,
        )
        for each in (0.25, number)
    )
    assert plain.dtype == numpy.dtype
    np.testing.assert_array_equal(library.to_numpy(plain), library.to_numpy(numpy))
    times = library.from_numpy(np.arange(3.0))
    for function in (afa.delay_keys, afa.gate):
        plain, numpy = (function(times, each) for each in (0.25, number))
        np.testing.assert_array_equal(library.to_numpy(plain), library.to_numpy(numpy))


def test_lag_may_be_a_numpy_number():
    sde = afa.IsotropicSDE(0.5, 0.0, NOISE)
    times = np.asarray([0.0, 1.0])
    assert sde.covariance(times[1] - times[0]) == sde.covariance(times)[1]


def test_scalar_frequency_serves_every_mode(library, call):
    x, value = normal(library, 3, 4), normal(library, 3, 6, seed=1)
    one, two, three = 0.7, np.full(2, 0.7), np.full(3, 0.7)
    full = afa.IsotropicSDE(0.1, library.from_numpy(two), NOISE, library.from_numpy(three))
    expected = library.to_numpy(call(afa.attention, x, x, value, full))
    for frequency in (one, library.from_numpy(np.asarray(one))):
        result = call(afa.attention, x, x, value, afa.IsotropicSDE(0.1, frequency, NOISE))
        np.testing.assert_allclose(library.to_numpy(result), expected, rtol=1e-12)


@forms
def test_value_frequency_zero_disables_rotation(form, library, call):
    """Constant values stay constant: without decay and rotation the rows are averages."""
    changes = {"frequency": 0.0} if form == "diagonal" else {"value_frequency": 0.0}
    sde = models(library)[form]._replace(decay=0.0, **changes)
    x, value = normal(library, 4, 4), library.from_numpy(np.tile([1.0, 2.0, 3.0, 4.0], (4, 1)))
    result = library.to_numpy(call(afa.attention, x, x, value, sde))
    np.testing.assert_allclose(result, library.to_numpy(value), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_read_only_arguments_are_accepted(form, host):
    """Read-only arrays give the same result twice."""
    numpy = host("numpy")
    x = np.random.default_rng(0).standard_normal((3, 4))
    times, mask = np.arange(3.0), np.asarray([[True, False, True]] * 3)
    sde = models(numpy)[form]
    for each in (x, times, mask, sde.frequency, sde.decay):
        if isinstance(each, np.ndarray):
            each.flags.writeable = False
    first, second = (
        afa.attention(x, x, x, sde, query_times=times, key_times=times, mask=mask) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
