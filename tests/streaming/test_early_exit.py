"""Early exit: which key blocks are visited, and what is left out of results and gradients."""

from types import SimpleNamespace

import numpy as np
import pytest
from array_api_compat import numpy as xp

import afa_core as afa
from afa_core.backend import load
from afa_core.streaming.early_exit import all_tokens_finite
from tests.streaming.problems import run

HEADS, TOKENS, TILE = 3, 96, 4
PROCESS = np.asarray([1e-4, 0.5, 5.0])
"""From a head that remembers every key to one that remembers the latest."""


def tokens(seed=0, width=4):
    return np.random.default_rng(seed).standard_normal((HEADS, TOKENS, width))


def model(array, form="isotropic", process=PROCESS):
    """A model whose heads remember for different times."""
    noise = afa.Noise(array(process), 1.0, 0.5)
    if form == "diagonal":
        pairs = np.stack([process, 2.0 * process], axis=-1)
        return afa.DiagonalSDE(
            0.0, array(np.asarray([0.3, 0.1])), noise._replace(process=array(pairs))
        )
    if form == "radial_tangential":
        return afa.RadialTangentialSDE(0.0, 0.3, noise, noise._replace(measurement=0.7))
    return afa.IsotropicSDE(0.0, 0.3, noise)


def visited(library, x, sde, **options):
    """The share of pairs that each head visits."""
    backend = load(library)
    array = backend.from_numpy
    found = afa.visited_blocks(
        array(x), array(x), array(x), sde, correlated=True, tile=TILE, **options
    )
    return backend.to_numpy(found.visited) / found.total


@pytest.mark.parametrize(
    ("library", "causal"),
    [("numpy", True), ("numpy", False), ("torch", True), ("torch", False), ("jax", True)],
)
@pytest.mark.parametrize("beta", [1.0, 1.4])
def test_heads_with_short_memory_visit_less(library, causal, beta):
    """Heads leave by themselves, in any order; a greater tolerance leaves out more."""
    pytest.importorskip(library)
    array = load(library).from_numpy
    order = [1, 2, 0]
    options = {"weighting": afa.Rational(4.0), "causal": causal, "inverse_temperature": beta}
    x, sde = tokens()[order], model(array, process=PROCESS[order])
    share = visited(library, x, sde, **options)
    assert share[2] == 1.0
    assert share[1] < share[0] < 1.0
    assert np.all(visited(library, x, sde, tolerance=0.0, **options) == 1.0)
    assert np.all(visited(library, x, sde, tolerance=0.1, **options)[:2] < share[:2])


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_outliers_have_the_keys_before_them_visited(library):
    """Keys near a query that are all outliers have little weight: those before them have more."""
    pytest.importorskip(library)
    array, weighting = load(library).from_numpy, afa.StudentT(4.0)
    sde = model(array, process=np.full(3, 0.5))
    options = {"weighting": weighting, "tolerance": 1e-3}
    clean = outliers = tokens()
    outliers = clean.copy()
    outliers[:, -40:] *= 1e6
    query = tokens(1)
    found = [
        afa.visited_blocks(
            array(query), array(key), array(key), sde, correlated=True, tile=TILE, **options
        )
        for key in (clean, outliers)
    ]
    few, many = (load(library).to_numpy(each.visited) for each in found)
    assert np.all(many > few)
    exact, bounded = (
        load(library).to_numpy(
            afa.attention(
                *map(array, (query, outliers, clean)), sde, weighting=weighting, correlated=True,
                tolerance=tolerance, implementation="streaming", tile=TILE,
            )
        )
        for tolerance in (0.0, 1e-3)
    )  # fmt: skip
    largest = np.max(np.linalg.norm(clean, axis=-1))
    assert 0.0 < np.max(np.abs(bounded - exact)) <= 2e-3 * largest


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_far_tokens_that_are_not_finite_are_not_left_out(library):
    """NaN reaches every row that attends to it, however small its weight."""
    pytest.importorskip(library)
    backend = load(library)
    x = tokens()
    x[:, 0] = np.nan
    arrays = [backend.from_numpy(each) for each in (tokens(1), tokens(2), x)]
    sde = model(backend.from_numpy)
    found = afa.attention(
        *arrays,
        sde,
        correlated=True,
        weighting=afa.Uniform(),
        implementation="streaming",
        tile=TILE,
    )
    assert np.all(np.isnan(backend.to_numpy(found)))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_head_whose_keys_are_all_hidden(library):
    """It forgets nothing, and the heads beside it are as they are without it."""
    pytest.importorskip(library)
    backend = load(library)
    x = backend.from_numpy(tokens())
    mask = backend.from_numpy(np.asarray([True, False, True])[:, None] & np.ones(TOKENS, bool))
    options = {"causal": False, "correlated": True, "mask": mask[:, None, :]}
    sde = model(backend.from_numpy)
    both = [
        backend.to_numpy(afa.attention(x, x, x, sde, implementation=each, tile=tile, **options))
        for each, tile in (("streaming", TILE), ("reference", None))
    ]
    np.testing.assert_allclose(*both, rtol=0.0, atol=1e-12)
    assert not np.any(both[0][1])


@pytest.mark.parametrize(
    ("form", "causal", "temperature"),
    [
        ("isotropic", True, 1.0),
        ("isotropic", False, 2.0),
        ("diagonal", True, 2.0),
        ("radial_tangential", False, 1.0),
    ],
)
def test_gradients(form, causal, temperature):
    """Gradients are those of all keys, to the tolerance; heads are out of order."""
    torch = pytest.importorskip("torch")
    order = [1, 2, 0]

    def gradients(tolerance):
        leaves = [torch.tensor(tokens(seed)[order], requires_grad=True) for seed in range(3)]
        process = torch.tensor(PROCESS[order], requires_grad=True)
        sde = model(torch.asarray, form)
        if form == "diagonal":
            noise = sde.noise._replace(
                process=process[:, None] * torch.ones(2, dtype=process.dtype)
            )
            sde = sde._replace(noise=noise)
        elif form == "isotropic":
            sde = sde._replace(noise=sde.noise._replace(process=process))
        else:
            noise = sde.radial_noise._replace(process=process)
            sde = sde._replace(radial_noise=noise, tangential_noise=noise)
        arguments = dict(zip(("query", "key", "value"), leaves, strict=True))
        options = {"weighting": afa.Rational(4.0), "inverse_temperature": temperature}
        found = run(
            {**arguments, "sde": sde},
            correlated=True,
            causal=causal,
            tolerance=tolerance,
            **options,
        )
        weight = torch.asarray(tokens(4)[order])
        precisions = found.precision if isinstance(found.precision, tuple) else [found.precision]
        loss = (found.mean * weight).sum() + sum(x.sum() for x in precisions) * 1e-2
        return torch.autograd.grad(loss, [*leaves, process])

    pairs = zip(gradients(1e-7), gradients(0.0), strict=True)
    for found, exact in pairs:
        torch.testing.assert_close(found, exact, rtol=0.0, atol=1e-5 * float(exact.abs().max()))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_least_tolerance(library, causal):
    """The half of it that each side takes is no number of double precision."""
    pytest.importorskip(library)
    array = load(library).from_numpy
    x, sde = array(tokens()), model(array)
    options = {"correlated": True, "causal": causal, "implementation": "streaming", "tile": TILE}
    found = afa.attention(x, x, x, sde, tolerance=5e-324, **options)
    exact = afa.attention(x, x, x, sde, tolerance=0.0, **options)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


def test_the_sum_of_finite_tokens_may_exceed_half_precision():
    x = np.full((1, 70000, 2), 0.5, np.float16)
    operands = SimpleNamespace(key=x, value=x)
    assert all_tokens_finite(operands, xp=xp)
    x[0, 7, 1] = np.inf
    assert not all_tokens_finite(operands, xp=xp)


def test_explained():
    """It is said where every key is visited, and why."""
    x = np.ones((600, 4))
    sde = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.2, 1.0, 1.0))
    assert "no bound" in afa.explain(x, x, x, sde).early_exit
    assert afa.explain(x, x, x, sde, correlated=True).early_exit == ""
    assert (
        "`tolerance` is 0" in afa.explain(x, x, x, sde, correlated=True, tolerance=0.0).early_exit
    )
    few = x[:5]
    assert "all pairs" in afa.explain(few, few, few, sde, correlated=True).early_exit
    strict = pytest.importorskip("array_api_strict").ones((600, 4))
    options = {"correlated": True, "implementation": "streaming"}
    assert "cannot be read" in afa.explain(strict, strict, strict, sde, **options).early_exit
