"""Kernels of Pallas, interpreted on a CPU, against attention over tiles in double precision."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import afa_core as afa  # noqa: E402
from afa_core.streaming.blocks import Sizes  # noqa: E402
from afa_jax.pallas import run  # noqa: E402
from afa_jax.pallas.arguments import Blocks  # noqa: E402
from afa_jax.streaming import Program  # noqa: E402

from ..problems import (  # noqa: E402
    HEADS,
    assert_gradients,
    in_single_precision,
    solution_of,
    streamed,
)

MANY = (37, 37)
CASES = {
    "default": ("default", MANY, {}),
    "fewer keys": ("irregular logarithms", (40, 20), {"causal": False, "variances": True}),
    "fewer queries": ("logarithms", (5, 40), {"inverse_temperature": 0.7}),
    "irregular": ("irregular", MANY, {}),
    "unordered": ("unordered", MANY, {"weighting": afa.Gaussian(), "mask": "pairs"}),
    "keys masked": ("uniform", MANY, {"causal": False, "mask": "keys"}),
    "correlated": ("correlated", MANY, {}),
    "smoother": ("regular smoother", (40, 20), {}),
    "smoother of a temperature": ("smoother of a temperature", MANY, {"times": "in order"}),
    "forgetting": ("forgetting", (44, 78), {}),
    "correlated and uniform": ("correlated uniform", MANY, {}),
}
"""Problems, numbers of queries and keys, and further options."""
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


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients(name):
    case, sizes, others = CASES[name]
    operands, static = streamed(case, *sizes, **others)
    expected, given, right = solution_of(operands, static)
    mask = static.visibility.mask
    found, _, grads = interpreted(static, in_single_precision(operands), mask, given)
    for x, y in zip(found[:2], expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)
    assert_gradients(grads, right, static, 2e-5)


def test_early_exit():
    operands, static = streamed("regular smoother", 96, 96)
    expected, given, right = solution_of(operands, static)
    narrow, static = in_single_precision(operands), static._replace(tolerance=1e-3)
    found, visited, grads = interpreted(static, narrow, None, given)
    assert (visited[..., 1] - visited[..., 0]).sum() < HEADS * run.tiles(static, BLOCKS)
    shares = abs(found.mean - expected[0]) / abs(operands.value).max()
    assert 1e-6 < float(shares.max()) < 2e-4
    assert_gradients(grads, right, static, 1e-3)


def test_values_that_are_not_finite():
    """They reach the queries that attend to them, and no others."""
    operands, static = streamed("default", *MANY)
    operands = in_single_precision(operands)
    value = operands.value.copy()
    value[1, 20, 2] = np.nan
    found, *_ = interpreted(static, operands._replace(value=value), None)
    missing = np.isnan(found.mean)
    assert missing[1, 20:, 2].all()
    missing[1, 20:, 2] = False
    assert not missing.any()
