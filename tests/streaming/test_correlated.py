"""Correlated keys over long sequences: tile by tile, in single precision, chosen by itself."""

import numpy as np
import pytest

import afa_core as afa
from afa_core import kalman
from afa_core.backend import load

TOKENS = 1500
NOISE = afa.Noise(0.5, 1.0, 1.0)


def problem():
    """Return tokens, irregular times and a mask of a long sequence of one mode."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(size=TOKENS))
    return rng.standard_normal((2, TOKENS, 2)), times, rng.uniform(size=TOKENS) > 0.1


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("process", [1e-6, 0.5, 20.0])
def test_exact_filter_in_single_precision(library, process):
    """A sum of log losses over all tokens is of the order of their number, its differences not."""
    pytest.importorskip(library)
    backend = load(library)
    value, times, seen = problem()
    sde = afa.IsotropicSDE(0.0, 0.3, NOISE._replace(process=process))
    tokens = backend.from_numpy(value.astype(np.float32))
    found = afa.estimate(
        tokens,
        tokens,
        tokens,
        sde,
        query_times=backend.from_numpy(times),
        key_times=backend.from_numpy(times),
        mask=backend.from_numpy(seen[None, :]),
        weighting=afa.Uniform(),
        correlated=True,
        implementation="streaming",
    )
    model = afa.DiagonalSDE(np.zeros(1), np.full(1, 0.3), sde.noise)
    exact = kalman.filter(value, times, model, observed=seen[:, None])
    mean, precision = (backend.to_numpy(x) for x in (found.mean, found.precision))
    visible = np.cumsum(seen) > 0
    scale = np.abs(value).max()
    np.testing.assert_allclose(mean[:, visible], exact.mean[:, visible], atol=2e-6 * scale, rtol=0)
    variance = np.broadcast_to(exact.variance[..., 0], precision.shape)[:, visible]
    np.testing.assert_allclose(1.0 / precision[:, visible], variance, rtol=3e-6)


def test_long_sequences_are_streamed():
    """`auto` takes tiles for correlated keys as for independent ones."""
    tokens = np.zeros((1000, 4))
    sde = afa.IsotropicSDE(0.1, 0.3, NOISE)
    options = {"correlated": True, "query_variance": np.ones(1000)}
    found = afa.explain(tokens, tokens, tokens, sde, **options)
    assert found.chosen == "streaming"
    assert "no function of the lag" in found.others["linear"]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("process", [0.5, 3.0])
def test_hidden_pairs_of_a_tile_overflow_nothing(causal, process):
    """Influence falls by more than single precision holds in a tile, and grows so backward."""
    tokens = problem()[0][:1, :400]
    sde = afa.IsotropicSDE(0.1, 0.3, NOISE._replace(process=process))
    options = {"weighting": afa.Rational(4.0), "causal": causal, "correlated": True}
    single = tokens.astype(np.float32)
    found = afa.attention(single, single, single, sde, **options, implementation="streaming")
    exact = afa.attention(tokens, tokens, tokens, sde, **options, implementation="reference")
    np.testing.assert_allclose(found, exact, atol=2e-6 * np.abs(tokens).max())


def test_keys_of_any_time_may_be_hidden():
    """A block of hidden keys after its queries in time changes nothing and warns of nothing."""
    value, _, seen = problem()
    value, seen = value[:, :12], seen[:12] & (np.arange(12) // 2 != 2)
    times = np.where(seen, np.arange(12.0), 1e6)
    sde = afa.IsotropicSDE(0.1, 0.3, NOISE._replace(measurement=0.0))
    results = [
        afa.attention(
            value, value, value, sde, query_times=np.arange(12.0), key_times=times,
            mask=seen[None, :], correlated=True, implementation=implementation, **tile,
        )
        for implementation, tile in (("reference", {}), ("streaming", {"tile": 2}))
    ]  # fmt: skip
    np.testing.assert_allclose(results[1], results[0], atol=1e-14)


# dynamo makes an instance of the function that it follows, which torch deprecates
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_compiles_and_maps_it(torch):
    """Results and gradients, in one graph and under `torch.func.vmap`."""
    value = torch.asarray(problem()[0][:, :14])

    def loss(value, process):
        sde = afa.IsotropicSDE(0.1, 0.3, NOISE._replace(process=process))
        options = {"correlated": True, "implementation": "streaming", "tile": 4}
        return (afa.attention(value, value, value, sde, **options) * value).sum()

    gradients = torch.func.grad(loss, argnums=(0, 1))
    process = torch.asarray(0.5, dtype=torch.float64)
    expected = [gradients(x, process) for x in value]
    mapped = torch.func.vmap(gradients, in_dims=(0, None))(value, process)
    for found, of_each in zip(mapped, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(of_each))
    leaves = value[0].clone().requires_grad_(), process.clone().requires_grad_()
    torch.compile(loss, fullgraph=True, backend="aot_eager")(*leaves).backward()
    for leaf, gradient in zip(leaves, expected[0], strict=True):
        torch.testing.assert_close(leaf.grad, gradient)


def test_temperature_zero_leaves_out_a_prior_without_weight():
    """Where influences sum to 1 or more, max(1 − S, 0)^β is zero for β = 0 too, and its gradient.

    Gradients are those of the reference.
    """
    torch = pytest.importorskip("torch")
    tokens = torch.from_numpy(problem()[0][:1, :8]).requires_grad_()
    sde = afa.IsotropicSDE(0.3, 0.3, NOISE)
    beta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    options = {"causal": False, "correlated": True, "inverse_temperature": beta}

    def results(implementation):
        mean = afa.attention(tokens, tokens, tokens, sde, **options, implementation=implementation)
        return mean, *torch.autograd.grad(mean.square().sum(), (tokens, beta))

    for found, exact in zip(results("streaming"), results("reference"), strict=True):
        torch.testing.assert_close(found, exact)


def test_temperature_zero_leaves_out_keys_without_influence():
    """At η² = 0 a key at the time of the one before has no influence, at β = 0 neither."""
    torch = pytest.importorskip("torch")
    times = torch.tensor([0.0, 1.0, 1.0, 2.0], dtype=torch.float64)
    tokens = torch.tensor(problem()[0][0, :4], requires_grad=True)
    beta = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def gradients(form, implementation):
        noise = afa.Noise(0.5, 0.0, 1.0)
        options = {"query_times": times, "key_times": times, "inverse_temperature": beta}
        sde = form(torch.zeros(1), 0.3 * torch.ones(1), noise)
        mean = afa.attention(
            tokens, tokens, tokens, sde, **options, correlated=True, implementation=implementation
        )
        return mean, *torch.autograd.grad(mean.square().sum(), (tokens, beta))

    for form in (lambda mu, *rest: afa.IsotropicSDE(mu[0], *rest), afa.DiagonalSDE):
        pairs = zip(gradients(form, "streaming"), gradients(form, "reference"), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "radial-tangential"])
@pytest.mark.parametrize("regular", [True, False])
def test_hidden_keys_leave_the_range_of_influence_to_the_others(form, regular):
    """Keys on both sides: whatever the place of a hidden one, tiles are those of visible keys."""
    rng = np.random.default_rng(7)
    noise = afa.Noise(0.1, 0.5, 0.3)
    forms = {
        "isotropic": afa.IsotropicSDE(0.5, 0.3, noise),
        "diagonal": afa.DiagonalSDE(np.asarray([0.2, 0.5]), 0.3, noise),
        "radial-tangential": afa.RadialTangentialSDE(0.5, 0.3, noise, noise._replace(process=0.2)),
    }
    tokens, mask = rng.standard_normal((2, 300, 4)), rng.random((2, 1, 300)) < 0.7
    options = {"mask": mask, "causal": False, "correlated": True, "tolerance": 0.0}
    if not regular:
        times = np.cumsum(rng.exponential(size=300))
        options |= {"query_times": times, "key_times": np.where(mask[:, 0], times, 1e3)}
    right, found = (
        afa.attention(tokens, tokens, tokens, forms[form], **options, implementation=name, **tile)
        for name, tile in (("reference", {}), ("streaming", {"tile": 16}))
    )
    np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-12)
