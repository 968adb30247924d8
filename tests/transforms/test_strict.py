"""array_api_strict: its devices, and nothing beyond the standard."""

import numpy as np
import pytest

import afa_core as afa

from .problems import arguments_of, forms, model, tokens

MASK = np.asarray([[True, True, False], [False, False, False], [True, True, True]])
DOUBLE = ("CPU_DEVICE", "device1")


@pytest.fixture
def strict(host):
    host("array_api_strict")
    module = pytest.importorskip("array_api_strict")
    module.set_array_api_strict_flags(
        api_version="2024.12",
        boolean_indexing=False,
        data_dependent_shapes=False,
        enabled_extensions=(),
    )
    yield module
    module.reset_array_api_strict_flags()


@pytest.fixture(params=[*DOUBLE, "no_float64", "no_x64"])
def device(request, strict):
    return strict.Device(request.param), request.param in DOUBLE


@pytest.fixture
def arguments(form, strict, device):
    """The arguments of a problem on the device."""
    there, double = device

    def array(x):
        return strict.asarray(np.asarray(x, "float64" if double else "float32"), device=there)

    return arguments_of(form, array)


@forms
def test_results_are_those_of_numpy(form, arguments, device, strict):
    there, double = device
    found = afa.estimate(**arguments, mask=strict.asarray(MASK, device=there))
    expected = afa.estimate(**arguments_of(form, np.asarray), mask=MASK)
    assert found.mean.dtype == (strict.float64 if double else strict.float32)
    tolerance = 1e-12 if double else 2e-5
    for result, exact in zip(flat(found), flat(expected), strict=True):
        assert result.device == there
        np.testing.assert_allclose(numpy(result, strict), exact, rtol=tolerance, atol=tolerance)


@forms
def test_results_stay_on_the_device(form, arguments, device, strict):
    """Nothing leaves the device, and nothing beyond the standard is called."""
    sde, value, times = arguments["sde"], arguments["value"], arguments["key_times"]
    estimate = afa.estimate(**arguments)
    anchor = {"anchor": value} if form == "radial-tangential" else {}
    results = [
        afa.attention_weights(**arguments),
        afa.attention(*(arguments[name] for name in ("query", "key", "value", "sde"))),
        afa.predict(estimate.mean, sde, 0.5),
        afa.predict(estimate.mean, sde, times),
        afa.innovation(estimate.mean, value),
        afa.gate(estimate.precision, 1.0),
        afa.sample(estimate, rng=np.random.default_rng(0), query_noise=0.1, **anchor),
        afa.equilibrium(sde, value),
        afa.delay_keys(times, 0.5),
        sde.transition(times[:, None]),
        sde.covariance(times[:1]),
        sde.residual_covariance(times[:1]),
    ]
    there, _ = device
    assert all(leaf.device == there for leaf in flat(results))
    sde.validate()
    assert afa.explain(**arguments).chosen
    if form != "radial-tangential":
        empty = {name: arguments[name][:0, ...] for name in ("key", "value", "key_times")}
        assert not numpy(afa.attention(**arguments | empty), strict).any()


def steps_after_a_prompt(form, array):
    """Estimates of the last four of many correlated tokens without rotation, and the cache."""
    sde, x = model(form, array), tokens(array, n=5000)
    sde = sde._replace(**{name: 0.0 for name in sde._fields if name.endswith("frequency")})
    cache = afa.DecodeCache.of(*(each[:-4, :] for each in x[1:]), sde, correlated=True)
    found = []
    for chunk in (slice(4996, 4997), slice(4997, 5000)):
        own = (each[chunk, :] for each in x)
        options = {"weighting": afa.Uniform(), "correlated": True}
        result, cache = afa.estimate_step(*own, sde, cache, **options)
        found.append(result)
    return found, cache


@forms
def test_filter_of_a_long_cache(form, strict, device):
    """Without double precision C is kept in two terms, and results are those of NumPy."""
    there, double = device

    def array(x):
        return strict.asarray(np.asarray(x, "float64" if double else "float32"), device=there)

    found, cache = steps_after_a_prompt(form, array)
    expected, _ = steps_after_a_prompt(form, np.asarray)
    filters = {"isotropic": 1}.get(form, 2)
    assert cache.influence.shape[-1] == (2 * filters if double else 3 * filters)  # and C itself
    tolerance = 1e-10 if double else 5e-6
    for result, exact in zip(flat(found), flat(expected), strict=True):
        assert result.device == there
        np.testing.assert_allclose(numpy(result, strict), exact, rtol=tolerance, atol=tolerance)


def numpy(x, strict):
    return np.asarray(x.to_device(strict.Device("CPU_DEVICE")))


def flat(tree):
    """The arrays of nested tuples and lists."""
    if isinstance(tree, tuple | list):
        return [leaf for each in tree for leaf in flat(each)]
    return [tree]
