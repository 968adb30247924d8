"""The kernel of CuPy, its threads emulated on a CPU, against attention over tiles in NumPy."""

import numpy as np
import pytest

from afa_cupy.fused.blocks import Blocks

from ..problems import CASES, HEADS, SHAPES, in_single_precision, results_of, streamed

SMALL = Blocks(1, 1)


def expected_of(operands, static):
    return results_of(operands, static)[:2]


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


@pytest.mark.parametrize("case", ["forgetting", "regular smoother", "correlated logarithms"])
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


def test_every_key_is_visited_in_any_order_of_times(on_host):
    """Times of arrays are not looked at, and keys far away in a sequence may be near in time."""
    operands, static = streamed("smoother", 200, 200, process=30.0)
    found = on_host(operands, static._replace(tolerance=1e-3), Blocks(2, 1))
    all_pairs = on_host(operands, static, Blocks(2, 1))
    np.testing.assert_array_equal(found.limits, all_pairs.limits)


def test_what_is_left_out_is_at_most_the_share(on_host):
    operands, static = streamed("regular smoother", 200, 200, process=30.0)
    found = on_host(operands, static._replace(tolerance=1e-14), Blocks(2, 1))
    assert np.diff(found.limits).sum() < 0.95 * HEADS * 13 * 200
    for x, y in zip(found[:2], expected_of(operands, static), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@np.errstate(invalid="ignore")
def test_hidden_tokens_that_are_not_finite(number, on_host):
    operands, static = streamed("masked", 37, 37, mask="pairs")
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
