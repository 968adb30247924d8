"""Kernels of Pallas, interpreted on a CPU, against attention over tiles in double precision."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from afa_core.streaming.blocks import Sizes  # noqa: E402
from afa_core.streaming.operands import Operands  # noqa: E402
from afa_jax.pallas import run  # noqa: E402
from afa_jax.pallas.arguments import Blocks  # noqa: E402
from afa_jax.streaming import Program, backward, forward  # noqa: E402

from .problems import CASES, HEADS, in_single_precision, streamed  # noqa: E402

BLOCKS = Blocks(16, 16, 4, 2)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def program_of(static):
    return Program.of(static, Sizes(16, 16), return_precision=True)


def interpreted(static, operands, mask, grads=None):
    """Return the results of kernels, and the gradients in all operands where some are given."""

    def both(operands, mask, grads):
        known = program_of(static).static
        result, visited = run.forward(operands, known, mask, BLOCKS, interpret=True)
        if grads is None:
            return result, visited, None
        grads = (x.astype("float32") for x in grads)
        found = run.backward(operands, known, mask, BLOCKS, result, *grads, interpret=True)
        return result, visited, found

    return jax.jit(both)(operands, mask, grads)


def assert_close(found, right, static, most):
    largest = max(float(abs(x).max()) for x in right if x.size)
    for name, x, y in zip(Operands._fields, found, right, strict=True):
        assert x.shape == y.shape
        # a known exponent is a number, and so are places in a sequence
        number = static.power > 1 if name == "dof" else "times" in name and static.regular
        if x.size and not number:
            scale = float(abs(y).max()) + 1e-3 * largest
            assert float(abs(x - y).max()) < most * scale, name


@pytest.mark.parametrize("case", CASES)
def test_results_and_gradients(case):
    operands, static = streamed(jax, case)
    program, mask = program_of(static), static.visibility.mask
    expected = forward(program, operands, mask)
    rng = np.random.default_rng(1)
    given = [jax.numpy.asarray(rng.standard_normal(x.shape)) for x in expected[:2]]
    found, _, grads = interpreted(static, in_single_precision(operands), mask, given)
    for x, y in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)
    right = backward(program, operands, mask, expected, *given)
    assert_close(grads, right, static, 2e-5)


def test_early_exit():
    operands, static = streamed(jax, "smoother", (96, 96))
    operands = in_single_precision(operands)
    ones = [jax.numpy.ones((*operands.query.shape[:2], width)) for width in (4, 1)]
    all_pairs, every, right = interpreted(static, operands, None, ones)
    static = static._replace(tolerance=1e-3)
    found, visited, grads = interpreted(static, operands, None, ones)
    counts = [(x[..., 1] - x[..., 0]).sum() for x in (visited, every)]
    assert counts[0] < counts[1] == HEADS * run.tiles(static, BLOCKS)
    shares = abs(found.mean - all_pairs.mean) / abs(operands.value).max()
    assert 0.0 < float(shares.max()) < 2e-4
    assert_close(grads, right, static, 1e-3)


def test_values_that_are_not_finite():
    """They reach the queries that attend to them, and no others."""
    operands, static = streamed(jax, "default")
    operands = in_single_precision(operands)
    value = operands.value.at[1, 20, 2].set(jax.numpy.nan)
    found, *_ = interpreted(static, operands._replace(value=value), None)
    missing = np.isnan(found.mean)
    assert missing[1, 20:, 2].all()
    missing[1, 20:, 2] = False
    assert not missing.any()
