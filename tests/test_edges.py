"""Inputs at the edge of what can be computed: nothing to see, hidden rubbish, missing axes."""

import numpy as np
import pytest

import afa_core as afa

LIBRARIES = ("numpy", "torch", "jax", "array_api_strict")
NOISE = afa.Noise(0.2, 1.0, 1.0)


def models(backend, modes=2):
    frequency = backend.from_numpy(np.linspace(0.5, 1.0, modes))
    decay = backend.from_numpy(np.linspace(0.1, 0.4, modes))
    return {
        "isotropic": afa.IsotropicSDE(0.1, frequency, NOISE),
        "diagonal": afa.DiagonalSDE(decay, frequency, NOISE),
        "radial-tangential": afa.RadialTangentialSDE(0.1, frequency, NOISE, NOISE),
    }


def normal(backend, *shape, seed=0):
    return backend.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def anchored(sde, anchor):
    return {"anchor": anchor} if isinstance(sde, afa.RadialTangentialSDE) else {}


def leaves(precision):
    return precision if isinstance(precision, afa.RadialTangential) else [precision]


FORMS = ("isotropic", "diagonal", "radial-tangential")
# JAX compiles every one of them, which takes long: here one form must do for it.
forms = pytest.mark.parametrize(
    ("library", "form"),
    [(name, form) for name in LIBRARIES for form in FORMS[: 1 if name == "jax" else 3]],
    indirect=["library"],
)


@forms
@pytest.mark.parametrize(
    ("n", "m", "causal"), [(3, 0, True), (3, 0, False), (0, 0, True), (0, 3, True)]
)
def test_no_queries_or_no_keys(form, causal, n, m, library, call):
    sde = models(library)[form]
    query, key = normal(library, n, 4), normal(library, m, 4)
    options = anchored(sde, query)
    mean, precision = call(afa.estimate, query, key, key, sde, causal=causal, **options)
    assert library.to_numpy(mean).shape == (n, 4)
    assert not library.to_numpy(mean).any()
    for each in leaves(precision):
        shape = (n, 2) if form == "diagonal" else (n,)
        assert library.to_numpy(each).shape == shape
        assert not library.to_numpy(each).any()


@forms
def test_query_that_sees_no_key_gets_zeros_and_no_precision(form, library, call):
    sde, x = models(library)[form], normal(library, 3, 4)
    seen = np.asarray([[True, False, True], [False, False, False], [False, True, True]])
    mask = library.from_numpy(seen)
    mean, precision = call(afa.estimate, x, x, x, sde, mask=mask, causal=False)
    weights = call(afa.attention_weights, x, x, x, sde, mask=mask, causal=False)
    assert not library.to_numpy(mean)[1].any()
    assert library.to_numpy(mean)[[0, 2]].all()
    for each in (*leaves(precision), *leaves(weights)):
        assert not library.to_numpy(each)[1].any()
        assert (library.to_numpy(each)[[0, 2]] >= 0).all()


@forms
@pytest.mark.parametrize(("rubbish", "causal"), [(np.nan, True), (np.inf, False)])
def test_key_that_no_query_sees_leaves_no_trace(form, rubbish, causal, library, call):
    sde = models(library)[form]
    x, times = np.random.default_rng(0).standard_normal((4, 4)), np.asarray([0.0, 0.5, 2.0, 2.5])
    spoiled, spoiled_times = x.copy(), times.copy()
    spoiled[2], spoiled_times[2] = [rubbish, np.nan, np.inf, -np.inf], rubbish
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

    for clean, result in zip(run(x, times), run(spoiled, spoiled_times), strict=True):
        np.testing.assert_array_equal(result, clean)


@forms
def test_later_key_leaves_no_trace_in_earlier_rows(form, library, call):
    sde = models(library)[form]
    x = np.random.default_rng(0).standard_normal((4, 4))
    spoiled = x.copy()
    spoiled[3] = np.nan
    query = library.from_numpy(x)
    clean, result = (
        library.to_numpy(call(afa.attention, query, tokens, tokens, sde, **anchored(sde, query)))
        for tokens in (library.from_numpy(x), library.from_numpy(spoiled))
    )
    np.testing.assert_array_equal(result[:3], clean[:3])
    assert np.isnan(result[3]).any()


@forms
def test_masks_of_fewer_axes_broadcast(form, library, call, host):
    sde, x = models(library)[form], normal(library, 2, 3, 4)
    numpy = host("numpy")
    exact, y = models(numpy)[form], normal(numpy, 2, 3, 4)
    keys = np.asarray([True, False, True])
    queries = np.asarray([[True], [False], [True]])
    for small in (keys, queries, np.asarray(True), np.broadcast_to(keys, (2, 1, 3))):
        full = np.broadcast_to(small, (2, 3, 3))
        result = call(afa.attention, x, x, x, sde, mask=library.from_numpy(small))
        whole = afa.attention(y, y, y, exact, mask=full)
        np.testing.assert_allclose(library.to_numpy(result), whole, rtol=1e-12, atol=1e-14)


@forms
def test_leading_axes_broadcast(form, library, call, host):
    """Grouped queries: the keys' axis of length 1, or its absence, serves every head."""
    sde, numpy = models(library)[form], host("numpy")
    query, key = normal(numpy, 2, 3, 5, 4), normal(numpy, 2, 1, 5, 4, seed=1)
    for few in (key, key[0, 0]):
        many = np.broadcast_to(few, query.shape)
        moved = [library.from_numpy(x) for x in (query, few, few)]
        grouped = library.to_numpy(call(afa.attention, *moved, sde))
        full = afa.attention(query, many, many, models(numpy)[form])
        np.testing.assert_allclose(grouped, full, rtol=1e-12, atol=1e-14)


def test_parameters_carry_batches_and_heads(library, call):
    """Every parameter with its own leading axes equals the heads computed one by one."""
    rng = np.random.default_rng(0)
    x, frequency = rng.standard_normal((2, 3, 5, 4)), rng.uniform(-1.0, 1.0, (3, 2))
    decay, process, dof = rng.uniform(0.1, 1.0, (3, 2, 3))
    beta, measurement = rng.uniform(0.5, 2.0, (2, 3))

    def arguments(x, decay, frequency, process, measurement, dof, beta):
        sde = afa.IsotropicSDE(decay, frequency, afa.Noise(process, measurement, 0.5))
        options = {"weighting": afa.StudentT(dof), "inverse_temperature": beta}
        return {"query": x, "key": x, "value": x, "sde": sde, **options}

    given = [x, decay, frequency, process, measurement, dof, beta]
    moved = arguments(*(library.from_numpy(each) for each in given))
    whole = library.to_numpy(call(afa.attention, **moved))
    for b, h in np.ndindex(2, 3):
        one = arguments(
            x[b, h], decay[b, h], frequency[h], process[b, h], measurement[h], dof[b, h], beta[h]
        )
        np.testing.assert_allclose(whole[b, h], afa.attention(**one), rtol=1e-12)


@forms
def test_leading_axes_of_any_argument_appear_in_the_result(form, library, call):
    sde, x = models(library)[form], normal(library, 3, 4)
    times = library.from_numpy(np.zeros((5, 3)))
    mask = library.from_numpy(np.ones((5, 3, 3), bool))
    for options in (
        {"key_times": times},
        {"mask": mask},
        {"inverse_temperature": library.from_numpy(np.ones(5))},
        {"weighting": afa.Rational(library.from_numpy(np.ones(5)))},
    ):
        mean, precision = call(afa.estimate, x, x, x, sde, **options)
        assert tuple(mean.shape) == (5, 3, 4)
        assert all(tuple(each.shape)[:2] == (5, 3) for each in leaves(precision))


@forms
def test_times_left_out(form, library, call):
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


def test_more_queries_than_keys(library, call):
    """The queries are the last of the tokens, so the first ones come before every key."""
    sde, query, key = models(library)["isotropic"], normal(library, 5, 4), normal(library, 3, 4)
    result = library.to_numpy(call(afa.attention, query, key, key, sde))
    assert not result[:2].any()
    np.testing.assert_allclose(result[2], library.to_numpy(key)[0], rtol=1e-12)


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
def test_common_shift_of_times_costs_rounding_only(form, library, call):
    sde, rng = models(library)[form], np.random.default_rng(0)
    x = library.from_numpy(rng.standard_normal((4, 4)).astype("float32"))
    times = np.cumsum(rng.integers(1, 9, 4) / 8.0)
    here, there = (
        library.to_numpy(call(afa.attention, x, x, x, sde, key_times=library.from_numpy(each)))
        for each in (times, times + 1e9)
    )
    np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-6)


def test_numpy_numbers_are_numbers(library, call):
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
def test_value_frequency_zero_switches_rotation_off(form, library, call):
    """Constant values stay constant: without decay and rotation the rows are averages."""
    changes = {"frequency": 0.0} if form == "diagonal" else {"value_frequency": 0.0}
    sde = models(library)[form]._replace(decay=0.0, **changes)
    x, value = normal(library, 4, 4), library.from_numpy(np.tile([1.0, 2.0, 3.0, 4.0], (4, 1)))
    result = library.to_numpy(call(afa.attention, x, x, value, sde))
    np.testing.assert_allclose(result, library.to_numpy(value), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_arguments_are_not_written(form, host):
    """Read-only arrays do, and give the same twice."""
    numpy = host("numpy")
    x = np.random.default_rng(0).standard_normal((3, 4))
    times, mask = np.arange(3.0), np.asarray([[True, False, True]] * 3)
    sde = models(numpy)[form]
    for each in (x, times, mask, sde.frequency, sde.decay):
        if isinstance(each, np.ndarray):
            each.flags.writeable = False
    first, second = (
        afa.attention(x, x, x, sde, query_times=times, key_times=times, mask=mask) for _ in "12"
    )
    np.testing.assert_array_equal(first, second)


def test_a_future_time_that_is_not_finite_leaves_the_past_alone(library):
    rng = np.random.default_rng(5)
    x, times = rng.normal(size=(6, 4)), np.cumsum(rng.exponential(size=6))
    sde = afa.IsotropicSDE(0.3, 0.7, afa.Noise(0.2, 1.0, 0.5))

    def attend(times):
        x_, t_ = library.from_numpy(x), library.from_numpy(times)
        return library.to_numpy(afa.attention(x_, x_, x_, sde, query_times=t_, key_times=t_))

    spoiled = np.where(np.arange(6) < 4, times, np.nan)
    np.testing.assert_allclose(attend(spoiled)[:4], attend(times)[:4], rtol=1e-12)
