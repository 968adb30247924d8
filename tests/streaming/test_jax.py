"""Compilation and transforms of JAX."""

import re

import numpy as np
import pytest

import afa_core as afa

from .problems import loss, problem, run


@pytest.fixture
def jax(host):
    host("jax")
    return pytest.importorskip("jax")


def close(jax, found, expected):
    leaves = (jax.tree.leaves(each) for each in (found, expected))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_jax_compiles_and_differentiates_it(jax):
    """Ten queries in threes and eleven keys in sixes; in one head time goes backward."""
    arguments = problem(jax.numpy.asarray, n=11)
    ahead = jax.numpy.asarray([[1.0], [-1.0], [1.0]])
    arguments["key_times"] = ahead * jax.numpy.cumsum(abs(arguments["key"][..., 0]), axis=-1)
    arguments["query_times"] = arguments["key_times"][..., 1:] + 0.01
    arguments["query"] = arguments["query"][..., 1:, :]
    options = {"mask": arguments.pop("mask")[..., 1:, :], "causal": False}

    def slope(arguments, implementation):
        def total(arguments):
            return loss(run(arguments, implementation, **options, weighting=afa.Rational()))

        return jax.value_and_grad(total)(arguments)

    compiled = jax.jit(slope, static_argnums=1)
    close(jax, compiled(arguments, "streaming"), compiled(arguments, "reference"))


def test_jax_maps_its_gradients(jax):
    arguments = problem(jax.numpy.asarray, n=7)
    shared = {name: arguments.pop(name) for name in ("sde", "mask")}

    def mapped(arguments, implementation):
        def total(arguments, mask):
            given = arguments | {"sde": shared["sde"], "mask": mask}
            return loss(run(given, implementation, weighting=afa.Rational()))

        return jax.vmap(jax.grad(total))(arguments, shared["mask"])

    compiled = jax.jit(mapped, static_argnums=1)
    close(jax, compiled(arguments, "streaming"), compiled(arguments, "reference"))


def test_jax_differentiates_it_twice_in_either_mode(jax):
    """Among them mapped tangents, and reverse mode over each of the two."""
    arguments = problem(jax.numpy.asarray, n=5, leading=(1,), modes=1)
    arguments["weighting"] = afa.Rational()
    assert not afa.explain(**arguments, implementation="streaming").derivatives

    def derivatives(query, implementation):
        def total(step):
            return loss(run(arguments | {"query": step * query}, implementation))

        first, second = (jax.jacfwd, jax.jacrev), (jax.jacfwd, jax.grad)
        found = [one(total)(1.0) for one in first]
        return found + [one(other(total))(1.0) for one in second for other in second]

    compiled = jax.jit(derivatives, static_argnums=1)
    query = arguments["query"]
    close(jax, compiled(query, "streaming"), compiled(query, "reference"))


@pytest.mark.parametrize("causal", [True, False])
def test_jax_compiles_one_program_for_any_length(jax, causal):
    """As long a text for 4 tiles as for 64, and no array of all pairs in it."""

    def text(n):
        arguments = problem(jax.numpy.asarray, n=n, leading=(1,))
        del arguments["mask"]

        def total(query):
            return loss(run(arguments | {"query": query}, causal=causal))

        return jax.jit(jax.grad(total)).lower(arguments["query"]).as_text()

    short, long = text(12), text(192)
    assert short.count("\n") == long.count("\n")
    assert re.search(r"192x192x", long) is None
