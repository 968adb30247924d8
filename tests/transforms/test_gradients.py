"""Gradients by PyTorch and JAX, against finite differences."""

import numpy as np
import pytest

import afa_core as afa

from .problems import arguments_of, forms, tokens


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_gradient_through_no_decay(name, host):
    """dV/dμ at 0 is −σ²Δ²: smooth, not zero and not NaN (spec §2)."""
    backend = host(name)
    lag = backend.from_numpy(np.asarray([0.5, 2.0, 30.0]))

    def covariance(decay):
        return afa.IsotropicSDE(decay, 0.0, afa.Noise(0.7, 1.0, 1.0)).covariance(lag).sum()

    (derivative,) = backend.grad(covariance, backend.from_numpy(np.asarray(0.0)))
    np.testing.assert_allclose(float(derivative), -0.7 * (0.5**2 + 2.0**2 + 30.0**2), rtol=1e-12)


@forms
@pytest.mark.parametrize("decay", [0.3, 0.0])
def test_gradcheck_of_every_argument(form, decay, torch):
    """Times included; at zero decay finite differences step to both sides."""
    arguments = arguments_of(form, torch.asarray, decay)
    leaves, tree = torch.utils._pytree.tree_flatten(arguments)
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    mask = torch.asarray([[True, False, False], [False, False, False], [True, True, True]])

    def run(*leaves):
        arguments = torch.utils._pytree.tree_unflatten(list(leaves), tree)
        return tuple(torch.utils._pytree.tree_leaves(afa.estimate(**arguments, mask=mask)))

    assert torch.autograd.gradcheck(run, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(
    "weighting", [afa.Rational(3.0), afa.Gaussian(), afa.Uniform()], ids=lambda w: type(w).__name__
)
def test_gradcheck_of_every_weighting(weighting, torch):
    arguments = arguments_of("isotropic", torch.asarray) | {"weighting": weighting}
    query = arguments.pop("query").requires_grad_()

    def run(query):
        return afa.attention(query, **arguments, causal=False)

    assert torch.autograd.gradcheck(run, query, atol=1e-8)


@pytest.mark.parametrize("decay", [0.3, 0.0])
def test_gradgradcheck_of_decay(decay, torch):
    frequency = torch.asarray([0.5], dtype=torch.float64)
    query, key, value = (x[:2, :2] for x in tokens(torch.asarray))

    def run(decay):
        sde = afa.IsotropicSDE(decay, frequency, afa.Noise(0.4, 1.0, 0.5))
        return afa.attention(query, key, value, sde)

    start = torch.tensor(decay, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, start)
    assert torch.autograd.gradgradcheck(run, start)


@forms
def test_gradients_ignore_invisible_tokens(form, torch):
    arguments = arguments_of(form, torch.asarray)
    mask = torch.asarray([True, False, True])
    arguments["key"][1], arguments["value"][1], arguments["key_times"][1] = (
        torch.nan,
        torch.inf,
        torch.nan,
    )
    leaves, tree = torch.utils._pytree.tree_flatten(arguments)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    options = {"mask": mask, "causal": False}
    if form == "radial-tangential":
        options["anchor"] = arguments["query"]
    mean, _ = afa.estimate(**torch.utils._pytree.tree_unflatten(leaves, tree), **options)
    for gradient in torch.autograd.grad(mean.square().sum(), leaves, materialize_grads=True):
        assert torch.isfinite(gradient).all()
