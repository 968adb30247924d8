"""Derivatives through steps of decoding in PyTorch, against those of the whole sequence."""

import pytest

import afa_core as afa

from .problems import forms, model, tokens

TOKENS = 5

forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def problem(form, torch):
    """Return tokens, and the parameters of a model, its weighting and its temperature."""
    x = tokens(torch.asarray, 2, n=TOKENS)
    weighting = afa.StudentT(torch.asarray(3.0, dtype=torch.float64))
    beta = torch.asarray(0.8, dtype=torch.float64)
    return x, (model(form, torch.asarray), weighting, beta)


def at_once(x, parameters):
    sde, weighting, beta = parameters
    return afa.attention(*x, sde, weighting=weighting, inverse_temperature=beta)


def by_steps(x, parameters):
    """Attend to a prompt of one token, then step by step; return the outputs of the steps."""
    (query, key, value), (sde, weighting, beta) = x, parameters
    cache, outputs = afa.DecodeCache.of(key[..., :1, :], value[..., :1, :], sde), []
    for i in range(1, key.shape[-2]):
        new = (each[..., i : i + 1, :] for each in (query, key, value))
        options = {"weighting": weighting, "inverse_temperature": beta}
        output, cache = afa.decode_step(*new, sde, cache, **options)
        outputs.append(output)
    return outputs


@forms
def test_gradients_of_parameters_alone(form, torch):
    """No token has a gradient, so that steps share the buffers of the cache."""
    x, parameters = problem(form, torch)
    sde = parameters[0]
    rotation = {id(sde.frequency), id(getattr(sde, "value_frequency", None))}
    leaves = torch.utils._pytree.tree_leaves(parameters)
    leaves = [leaf.requires_grad_() for leaf in leaves if id(leaf) not in rotation]
    stepped = torch.cat(by_steps(x, parameters), dim=-2).square().sum()
    whole = at_once(x, parameters)[..., 1:, :].square().sum()
    for a, b in zip(*(torch.autograd.grad(each, leaves) for each in (stepped, whole)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_layer_with_frozen_projections(torch):
    layer = pytest.importorskip("afa_torch").AdaptiveFilterAttention(8, 2, dtype=torch.float64)
    for name, each in layer.named_parameters():
        each.requires_grad_("proj" not in name)
    trained = [each for each in layer.parameters() if each.requires_grad]
    x = torch.randn(2, TOKENS, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cache, outputs = layer.empty_cache(x), []
    for token in x.split(1, dim=-2):
        (output, *_), cache = layer.step(token, cache)
        outputs.append(output)
    stepped, whole = torch.cat(outputs, dim=-2).square().sum(), layer(x)[0].square().sum()
    for a, b in zip(
        *(torch.autograd.grad(each, trained) for each in (stepped, whole)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@forward_mode
def test_forward_mode_is_that_of_functions(torch):
    """Dual numbers, of tokens and of the decay, have the tangents of `torch.func.jvp`."""
    forward_ad = torch.autograd.forward_ad
    x, (sde, *others) = problem("isotropic", torch)

    def run(scale, decay):
        own = tuple(scale * each for each in x)
        return torch.cat(by_steps(own, (sde._replace(decay=decay), *others)), dim=-2)

    one = torch.ones((), dtype=torch.float64)
    for decay in (0.3 * one, 0.0 * one):
        for tangents in ((one, one), (one, None), (None, one)):
            given = tuple(torch.zeros_like(one) if each is None else each for each in tangents)
            _, expected = torch.func.jvp(run, (one, decay), given)
            with forward_ad.dual_level():
                scale, own = (
                    each if tangent is None else forward_ad.make_dual(each, tangent)
                    for each, tangent in zip((one, decay), tangents, strict=True)
                )
                found = forward_ad.unpack_dual(run(scale, own)).tangent
            assert found is not None
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_parameters_in_half_precision(torch):
    """Those that NumPy has no dtype for do not go to compiled loops."""
    x, (sde, weighting, beta) = problem("isotropic", torch)
    x = tuple(each.float() for each in x)
    half = beta.bfloat16()
    found, expected = (
        torch.cat(by_steps(x, (sde, weighting, each)), dim=-2) for each in (half, half.float())
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@forward_mode
def test_nested_maps(torch):
    """Of a derivative of a mapped function, and of one in the other variable."""
    x, parameters = problem("isotropic", torch)
    one = torch.ones((), dtype=torch.float64)

    def derivatives(run):
        def function(scale, decay):
            sde = parameters[0]._replace(decay=decay)
            return run(tuple(scale * each for each in x), (sde, *parameters[1:]))

        def mapped(scale):
            return torch.func.vmap(lambda each: function(each, 0.3 * one))(scale[None])

        both = torch.func.jacfwd(torch.func.jacfwd(function, argnums=1), argnums=0)
        return torch.func.jacfwd(mapped)(one), torch.func.jacrev(mapped)(one), both(one, 0.3 * one)

    found = derivatives(lambda *own: torch.cat(by_steps(*own), dim=-2))
    expected = derivatives(lambda *own: at_once(*own)[..., 1:, :])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
