"""The engines of CuPy, over NumPy arrays: which problems they take, and what they return."""

import numpy as np
import pytest

import afa_core as afa
from afa_core._checks.arguments import collect_arguments
from afa_core.attention import prepare
from afa_core.streaming.attention import count_pairs
from afa_cupy.fused import launch
from afa_cupy.fused.blocks import Memory
from afa_cupy.fused.engine import FUSED

SDE = afa.IsotropicSDE(0.1, 0.3, afa.Noise(1.0, 1.0, 1.0))


def tokens(queries, modes=4):
    return np.random.default_rng(0).standard_normal((2, queries, 2 * modes))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_results(dtype, cupy_on_host):
    x = tokens(50).astype(dtype)
    options = {"tile": 8, "correlated": True, "query_times": np.arange(50) ** 1.5}
    options |= {"key_times": options["query_times"], "causal": False}
    found = afa.estimate(x, x, x, SDE, implementation="fused", **options)
    wide = x.astype("complex128" if dtype == "complex64" else "float64")
    del options["tile"]
    expected = afa.estimate(wide, wide, wide, SDE, implementation="reference", **options)
    assert found.mean.dtype == dtype
    tolerance = {"float64": 1e-10, "float16": 2e-3}.get(dtype, 1e-5)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.precision, expected.precision, rtol=tolerance)


def test_streaming(cupy_on_host):
    x = tokens(50)
    options = {"correlated": True, "inverse_temperature": 0.7}
    found = afa.attention(x, x, x, SDE, implementation="streaming", tile=8, **options)
    expected = afa.attention(x, x, x, SDE, implementation="reference", **options)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_pairs_are_counted(causal, cupy_on_host):
    x, visited = tokens(200), {}
    for tolerance in (0.0, 1e-3):
        options = {"correlated": True, "causal": causal, "tolerance": tolerance}
        problem, xp = prepare(collect_arguments(x, x, x, SDE, options))
        visited[tolerance], total = count_pairs(problem, FUSED.engine, 8, xp=xp)
    assert np.all(visited[0.0] == total)
    assert np.all(visited[1e-3] < 0.8 * total)


def test_no_queries_and_no_heads(cupy_on_host):
    for x in (tokens(0), tokens(5)[:0]):
        assert afa.attention(x, x, x, SDE, implementation="fused").shape == x.shape


def test_who_wants_the_kernel_names_it(cupy_on_host):
    x = tokens(5)
    assert "not yet run on a GPU" in afa.explain(x, x, x, SDE).others["fused"]
    named = afa.explain(x, x, x, SDE, correlated=True, implementation="fused")
    assert named.chosen == "fused"
    assert named.early_exit == ""


@pytest.mark.parametrize(
    ("sde", "modes", "reason"),
    [
        (afa.DiagonalSDE(0.1, 0.3, SDE.noise), 4, "it takes an IsotropicSDE, not a DiagonalSDE"),
        (
            afa.RadialTangentialSDE(0.1, 0.3, SDE.noise, SDE.noise),
            4,
            "it takes an IsotropicSDE, not a RadialTangentialSDE",
        ),
        (SDE, 129, "at most 128 modes, not 129"),
    ],
)
def test_refusals(sde, modes, reason, cupy_on_host):
    x = tokens(5, modes)
    with pytest.raises(ValueError, match=reason):
        afa.attention(x, x, x, sde, implementation="fused")
    assert afa.explain(x, x, x, sde).chosen == "reference"


def test_a_tile_may_not_fit(cupy_on_host, monkeypatch):
    monkeypatch.setattr(launch, "memory_of", lambda x: Memory(4096, 4096))
    x = tokens(5)
    others = afa.explain(x, x, x, SDE).others
    assert "does not fit into the shared memory" in others["fused"]
