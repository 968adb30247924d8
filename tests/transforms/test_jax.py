"""JAX: compiled, mapped, differentiated, and without double precision."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import afa_core as afa

from .problems import arguments_of, forms

VISIBLE = np.asarray([[True, False, False], [False, False, False], [True, True, True]])


@pytest.fixture
def jax(host):
    host("jax")
    return pytest.importorskip("jax")


def exact(form, jax, scale=1.0):
    """NumPy's results of a problem with every number scaled."""
    arguments = jax.tree.map(lambda x: scale * x, arguments_of(form, np.asarray))
    return jax.tree.leaves(afa.estimate(**arguments, mask=VISIBLE))


def estimate(arguments):
    from jax import numpy as jnp

    return afa.estimate(**arguments, mask=jnp.asarray(VISIBLE))


@forms
def test_jit_and_vmap(form, jax):
    """Each compiled in one piece, and compared with NumPy."""
    arguments = arguments_of(form, jax.numpy.asarray)
    found = jax.jit(estimate)(arguments)
    assert isinstance(found, afa.Estimate)
    for result, expected in zip(jax.tree.leaves(found), exact(form, jax), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)

    stacked = jax.tree.map(lambda x: jax.numpy.stack([x, 2.0 * x]), arguments)
    mapped = jax.tree.leaves(jax.jit(jax.vmap(estimate))(stacked))
    for index, scale in enumerate((1.0, 2.0)):
        for result, expected in zip(mapped, exact(form, jax, scale), strict=True):
            np.testing.assert_allclose(result[index], expected, rtol=1e-11, atol=1e-12)


@forms
def test_grad(form, jax):
    """The derivative in one direction, compared with finite differences."""

    def loss(arguments):
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(estimate(arguments)))

    arguments = arguments_of(form, jax.numpy.asarray)
    value_and_grad = jax.jit(jax.value_and_grad(loss))
    _, gradient = value_and_grad(arguments)
    assert jax.tree.structure(gradient) == jax.tree.structure(arguments)
    assert isinstance(gradient["sde"], type(arguments["sde"]))
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda x: rng.standard_normal(x.shape), arguments)
    up, down = (
        value_and_grad(jax.tree.map(lambda x, by: x + step * by, arguments, direction))[0]  # noqa: B023
        for step in (1e-6, -1e-6)
    )
    leaves = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    directional = sum((a * b).sum() for a, b in leaves)
    np.testing.assert_allclose(directional, (up - down) / 2e-6, rtol=1e-6)


def test_without_double_precision(tmp_path):
    """With x64 off nothing warns of truncation, and the results are single precision's."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    command = [sys.executable, "-W", "error", Path(__file__).with_name("single_precision.py")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
