"""The kernel of CuPy, its threads emulated on a CPU, against attention over tiles in NumPy."""

import numpy as np
import pytest
from array_api_compat import numpy as xp

import afa_core as afa
from afa_core._checks.arguments import collect_arguments
from afa_core.attention import prepare
from afa_core.streaming.attention import Streamed
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.run import forward
from afa_core.streaming.operands import Operands
from afa_cupy.fused.blocks import Blocks
from afa_numpy.streaming import ENGINE, OPERATIONS

HEADS, MODES, VALUE_MODES = 3, 3, 2
SMALL = Blocks(1, 1)
CASES = {
    "default": {},
    "acausal": {"causal": False},
    "gaussian": {"weighting": afa.Gaussian()},
    "uniform": {"weighting": afa.Uniform()},
    "rational": {"weighting": afa.Rational(2.0)},
    "logarithms": {"weighting": afa.StudentT(2.5)},
    "temperature": {"inverse_temperature": 0.7},
    "uniform of a temperature": {"weighting": afa.Uniform(), "inverse_temperature": 0.7},
    "irregular": {"irregular": True},
    "irregular logarithms": {"irregular": True, "weighting": afa.Rational(2.0)},
    "unordered": {"unordered": True, "causal": False},
    "correlated": {"correlated": True},
    "correlated uniform": {"correlated": True, "weighting": afa.Uniform()},
    "correlated logarithms": {"correlated": True, "weighting": afa.StudentT(2.5)},
    "smoother": {"correlated": True, "causal": False, "irregular": True},
    "smoother of a temperature": {"correlated": True, "causal": False, "inverse_temperature": 2.0},
    "forgetting": {"correlated": True, "irregular": True, "process": 30.0},
    "masked": {"masked": True, "causal": False},
    "masked in order": {"masked": True, "weighting": afa.Gaussian()},
    "masked keys": {"masked_keys": True, "correlated": True},
    "variances of queries": {"variances": True},
    "out of range": {"measurement": 1e-60},
}
SHAPES = {
    "default": (40, 20),
    "acausal": (5, 40),
    "irregular": (5, 40),
    "smoother": (40, 20),
    "correlated": (5, 40),
    "forgetting": (44, 78),
}


def streamed(case, queries, keys, modes=MODES, value_modes=VALUE_MODES, **others):
    """Return the operands of a problem in double precision, and what is known of it."""
    rng, options = np.random.default_rng(0), CASES[case] | others
    shapes = (queries, modes), (keys, modes), (keys, value_modes)
    tokens = [rng.standard_normal((HEADS, n, 2 * d)) for n, d in shapes]
    if options.pop("irregular", False):
        times = np.cumsum(rng.exponential(size=max(queries, keys)) // 0.5)
        options |= {"query_times": times[-queries:], "key_times": times[-keys:]}
    if options.pop("unordered", False):
        options |= {"query_times": rng.uniform(0.0, 9.0, queries)}
        options |= {"key_times": rng.uniform(0.0, 9.0, keys)}
    if options.pop("masked", False):
        options["mask"] = (rng.random((HEADS, queries, keys)) < 0.5) | (np.arange(keys) == 0)
    if options.pop("masked_keys", False):
        options["mask"] = rng.random((1, 1, keys)) < 0.7
    if options.pop("variances", False):
        options["query_variance"] = rng.uniform(0.1, 2.0, queries)
    process = options.pop("process", 1.0) * np.asarray([0.1, 0.02, 0.3])
    noise = afa.Noise(process, options.pop("measurement", 0.5), 0.3)
    if noise.measurement < 0.1:
        noise = noise._replace(query=np.asarray([0.3, 0.0, 0.0]))
    decay, frequency = np.asarray([1e-4, 0.01, 0.5]), rng.uniform(0.1, 1.0, modes)
    sde = afa.IsotropicSDE(decay, frequency, noise, rng.uniform(0.1, 1.0, value_modes))
    options |= {"tolerance": 0.0} if "correlated" in options else {}
    problem, _ = prepare(collect_arguments(*tokens, sde, options))
    operands, static, *_ = Streamed.of(problem, ENGINE, None, xp=xp)
    return operands, static


def expected_of(operands, static):
    sizes, ops = Sizes(16, 16), OPERATIONS._replace(buffers={})
    found = forward(operands, static, sizes, ops, return_precision=True, xp=xp)
    return found.mean, found.precision


def in_single_precision(operands):
    wide = {"query_times", "key_times", "query_level", "key_level"}
    pairs = zip(Operands._fields, operands, strict=True)
    return Operands(*(x if name in wide else x.astype(np.float32) for name, x in pairs))


@pytest.mark.parametrize(("case", "size"), [*((case, (37, 37)) for case in CASES), *SHAPES.items()])
def test_results(case, size, on_host):
    operands, static = streamed(case, *size)
    found, expected = on_host(operands, static, SMALL), expected_of(operands, static)
    for x, y in zip(found[:2], expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", ["default", "irregular logarithms", "smoother", "temperature"])
def test_single_precision(case, on_host):
    operands, static = streamed(case, 37, 37)
    found = on_host(in_single_precision(operands), static, SMALL)
    for x, y in zip(found[:2], expected_of(operands, static), strict=True):
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)


def test_heads_out_of_range_take_logarithms(on_host):
    """Each head is evaluated in one of two launches."""
    operands, static = streamed("out of range", 9, 9)
    for power, heads in ((5, [False, True, True]), (-1, [True, False, False])):
        found = on_host(operands, static, SMALL, powers=(power,))
        np.testing.assert_array_equal(np.isnan(found.mean).all((1, 2)), heads)


@pytest.mark.parametrize("case", ["default", "gaussian", "logarithms", "rational"])
def test_residuals_are_not_negative(case, on_host):
    """Those of equal tokens are zero, but for rounding errors that exceed Σ here."""
    operands, static = streamed(case, 37, 37)
    long = in_single_precision(operands._replace(query=1e4 * operands.key, key=1e4 * operands.key))
    found = on_host(long, static, SMALL)
    assert np.all(np.isfinite(found.mean))
    largest = 1.0 / (operands.measurement + operands.query_noise)
    assert np.all((found.precision > 0.0) & (found.precision <= 38.0 * largest))


@pytest.mark.parametrize(("modes", "value_modes"), [(32, 40), (7, 1)])
@pytest.mark.parametrize("blocks", [Blocks(8, 4), Blocks(2, 1), Blocks(4, 2)])
def test_sizes_of_blocks_and_tokens(modes, value_modes, blocks, on_host):
    """In either order of the threads, which no result depends on."""
    operands, static = streamed("irregular logarithms", 150, 150, modes, value_modes)
    for backwards in (False, True):
        found = on_host(operands, static, blocks, backwards=backwards)
        for x, y in zip(found[:2], expected_of(operands, static), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", ["forgetting", "smoother", "correlated logarithms"])
def test_early_exit(case, on_host):
    blocks = Blocks(2, 1)
    operands, static = streamed(case, 200, 200, process=30.0)
    all_pairs = on_host(operands, static, blocks)
    static = static._replace(tolerance=1e-3)
    found = on_host(operands, static, blocks)
    visited, every = (np.diff(x.limits).sum() for x in (found, all_pairs))
    assert visited < 0.9 * every
    shares = abs(found.mean - all_pairs.mean) / abs(operands.value).max()
    assert 0.0 < shares.max() < 2e-3
    value = operands.value.copy()
    value[1, -1] = np.inf  # which reaches every row that attends to it
    limits = on_host(operands._replace(value=value), static, blocks).limits
    np.testing.assert_array_equal(limits, all_pairs.limits)


def test_what_is_left_out_is_at_most_the_share(on_host):
    operands, static = streamed("smoother", 200, 200, process=30.0)
    found = on_host(operands, static._replace(tolerance=1e-14), Blocks(2, 1))
    assert np.diff(found.limits).sum() < 0.95 * HEADS * 13 * 200
    for x, y in zip(found[:2], expected_of(operands, static), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@np.errstate(invalid="ignore")
def test_hidden_tokens_that_are_not_finite(number, on_host):
    operands, static = streamed("masked", 37, 37)
    hidden, seen = 5, ~static.visibility.mask[:, :, 5]
    spoken = [x.copy() for x in (operands.key, operands.value, operands.key_times)]
    for each in spoken:
        each[:, hidden] = number
    names = "key", "value", "key_times"
    found = on_host(operands._replace(**dict(zip(names, spoken, strict=True))), static, SMALL)
    expected = expected_of(operands, static)
    for x, y in zip(found[:2], expected, strict=True):
        np.testing.assert_allclose(x[seen], y[seen], rtol=1e-11, atol=1e-12)
    assert np.all(np.isnan(found.mean[~seen]))


@pytest.mark.parametrize("case", ["default", "masked"])
def test_values_that_are_not_finite(case, on_host):
    """They reach the channel of the queries that attend to them."""
    operands, static = streamed(case, 37, 37)
    value = operands.value.copy()
    value[1, 30, 2] = np.nan
    found = on_host(operands._replace(value=value), static, SMALL)
    expected = expected_of(operands._replace(value=value), static)
    assert np.isnan(expected[0]).any()
    for x, y in zip(found[:2], expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)


def test_no_keys(on_host):
    operands, static = streamed("default", 4, 4)
    empty = {name: getattr(operands, name)[:, :0] for name in ("key", "value", "key_times")}
    static = static._replace(visibility=static.visibility._replace(keys=0))
    found = on_host(operands._replace(**empty, key_level=operands.key_level[:, :0]), static, SMALL)
    assert not found.mean.any()
    assert not found.precision.any()
