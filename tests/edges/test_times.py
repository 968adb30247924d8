"""Default times, integer times, and times far from zero."""

from functools import partial

import numpy as np
import pytest

import afa_core as afa
from afa_core import kalman
from afa_core.layer import Layer, Settings, Start, initial

from .problems import NOISE, anchored, forms, models, normal


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


NANOSECONDS = 1_700_000_000 * 10**9 + 1 + np.cumsum([0, 40, 1, 7, 300, 2, 2, 90])
"""Since 1970: float64 rounds them to multiples of 256, as long as the whole sequence."""


def tokens_of(library, dtype="float32"):
    x = np.random.default_rng(5).standard_normal((len(NANOSECONDS), 4))
    return library.from_numpy(x.astype(dtype))


def slow(library, form):
    """The model with rates per nanosecond."""
    modes = library.from_numpy(np.asarray([0.003, 0.02], dtype="float32"))
    noise = afa.Noise(0.004, 1.0, 0.5)
    return {
        "isotropic": afa.IsotropicSDE(0.002, modes, noise),
        "diagonal": afa.DiagonalSDE(modes, modes, noise),
        "radial-tangential": afa.RadialTangentialSDE(0.002, modes, noise, noise),
    }[form]


def attended(x, times, sde, correlated, implementation):
    options = {**anchored(sde, x), "correlated": correlated, "implementation": implementation}
    return afa.estimate(x, x, x, sde, query_times=times, key_times=times, **options)


def decoded(x, times, sde, correlated, prompt):
    """Decode after a prompt, by steps of two tokens and of one."""
    cut = slice(prompt)
    cache = afa.DecodeCache.of(x[cut, :], x[cut, :], sde, times=times[cut], correlated=correlated)
    found = []
    for now in (slice(prompt, prompt + 2), *(slice(i, i + 1) for i in range(prompt + 2, 8))):
        own, time = x[now, :], times[now]
        out, cache = afa.decode_step(own, own, own, sde, cache, time=time, correlated=correlated)
        found.append(out)
    return tuple(found)


def in_parts(x, times, sde, correlated):
    parts = slice(0, 3), slice(3, None)
    if correlated:
        influence = afa.key_influence(times, times, sde)
        given = [{"correlated": True, "influence": influence.part(each)} for each in parts]
    else:
        given = [{"query_times": times, "key_times": times[each]} for each in parts]
    pairs = zip(parts, given, strict=True)
    options = anchored(sde, x)
    states = [
        afa.partial_attention(x, x[each, :], x[each, :], sde, **own, **options)
        for each, own in pairs
    ]
    return afa.finish(afa.merge(*states))


def windowed(x, times, sde, *, correlated):
    options = {"query_times": times, "key_times": times, "correlated": correlated}
    return afa.windowed_attention(x, x, x, sde, window=4, **options)


USES = {
    "reference": lambda *given: attended(*given, "reference"),
    "streaming": lambda *given: attended(*given, "streaming"),
    "decoding": lambda *given: decoded(*given, 3),
    "decoding from nothing": lambda *given: decoded(*given, 0),
    "parts": in_parts,
}
LINEAR = {
    "window": partial(windowed, correlated=False),
    "correlated window": partial(windowed, correlated=True),
    "filter": kalman.filter,
    "scan": partial(kalman.filter, method="scan"),
    "smoother": kalman.smoother,
    "batch": kalman.batch_mle,
    "robust filter": kalman.robust_filter,
}


def assert_exact(library, use):
    """Integers have the results of their differences from the first, in double precision."""
    found, expected = (
        flat(library, use(library.from_numpy(times)))
        for times in (NANOSECONDS, (NANOSECONDS - NANOSECONDS[0]).astype("float64"))
    )
    assert found
    for own, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, exact, rtol=3e-4, atol=3e-5)


def flat(library, tree):
    if isinstance(tree, tuple):
        return [leaf for each in tree for leaf in flat(library, each)]
    return [] if tree is None else [library.to_numpy(tree)]


@forms
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("use", USES)
def test_nanoseconds_are_exact(form, library, call, use, correlated):
    sde, x = slow(library, form), tokens_of(library)
    assert_exact(library, lambda times: call(USES[use], x, times, sde, correlated))


@pytest.mark.parametrize("use", LINEAR)
def test_nanoseconds_of_estimators_are_exact(library, call, use):
    sde, x = slow(library, "isotropic"), tokens_of(library)
    assert_exact(library, lambda times: call(LINEAR[use], x, times, sde))


@pytest.mark.parametrize("correlated", [False, True])
def test_nanoseconds_of_layers_are_exact(library, call, correlated):
    settings = Settings(4, 2, 2, 2, correlated=correlated)
    start = Start(decay=(0.001, 0.01), frequency=(0.001, 0.02), step=50.0)
    rng = np.random.default_rng(2)
    parameters = {
        name: library.from_numpy(
            np.reshape(each.values or rng.standard_normal(each.shape), each.shape).astype("float32")
        )
        for name, each in initial(settings, start).items()
    }
    layer, x = Layer(settings, parameters), tokens_of(library)
    shown = library.from_numpy(np.arange(len(NANOSECONDS)) != 2)

    def filtered(times):
        hidden = layer(x, query_times=times, key_mask=shown)
        others = layer(x, x, x, query_times=times, key_times=times, causal=False)
        first, cache = layer.step(x[:3, :], layer.empty_cache(x, times=times), time=times[:3])
        return hidden, others, first, layer.step(x[3:, :], cache, time=times[3:])[0]

    assert_exact(library, lambda times: call(filtered, times))


def test_python_integers_are_exact(library):
    """The time of a step may be a number: an integer is not rounded to a float."""
    sde, x = slow(library, "isotropic"), tokens_of(library)

    def steps(times):
        cache, found = afa.DecodeCache.empty(x, x, sde, times=library.from_numpy(NANOSECONDS)), []
        for place, time in enumerate(times):
            own = x[place : place + 1, :]
            out, cache = afa.decode_step(own, own, own, sde, cache, time=time)
            found.append(library.to_numpy(out))
        return found

    exact = steps((NANOSECONDS - NANOSECONDS[0]).tolist())
    np.testing.assert_allclose(steps(NANOSECONDS.tolist()), exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(steps(map(float, NANOSECONDS - NANOSECONDS[0])), exact, rtol=1e-6)
    with pytest.raises(ValueError, match=r"`time` must be in the range of int64, .* Subtract the"):
        steps([2**63])


def test_integers_of_jax_in_single_precision(host):
    """Without 64 bits JAX has int32: differences are exact in its range, others are an error."""
    host("jax")
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.disable_x64():
        times = 2 * 10**9 + np.arange(4) * 3
        x, sde = jax.numpy.ones((4, 4)) * 0.5, afa.IsotropicSDE(0.1, 0.3, NOISE)
        cache = afa.DecodeCache.empty(x, x, sde)
        found = afa.attention(x, x, x, sde, key_times=jax.numpy.asarray(times, dtype="int32"))
        exact = afa.attention(x, x, x, sde, key_times=jax.numpy.arange(4) * 3.0)
        np.testing.assert_allclose(found, exact, rtol=1e-6)
        with pytest.raises(ValueError, match="`time` must be in the range of int32"):
            afa.decode_step(x[:1], x[:1], x[:1], sde, cache, time=int(NANOSECONDS[0]))
