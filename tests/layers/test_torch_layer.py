"""The layer for PyTorch: the values that it computes."""

import numpy as np
import pytest

import afa_core as afa
from afa_core.layer import Layer

from .torch_layers import FORMS, close, draw, make

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")

WEIGHTINGS = {"gaussian": afa.Gaussian, "uniform": afa.Uniform}
ROBUST = {"student_t": afa.StudentT, "rational": afa.Rational}


def by_hand(layer, x, sde, weighting):
    """Return the layer's output, its projections written out, by attention with a given model."""

    def heads(name):
        weights = layer.layer.parameters
        y = torch.nn.functional.linear(x, weights[f"{name}_weight"], weights.get(f"{name}_bias"))
        return y.unflatten(-1, (2, -1)).transpose(-2, -3)

    mean = afa.attention(
        heads("query"),
        heads("key"),
        heads("value"),
        sde,
        weighting=weighting,
        inverse_temperature=torch.nn.functional.softplus(layer.raw_inverse_temperature),
        layout=layer.settings.layout,
    )
    together = mean.transpose(-2, -3).flatten(-2)
    return torch.nn.functional.linear(together, layer.out_proj.weight, layer.out_proj.bias)


def model_by_hand(layer):
    """Return the layer's model, written out: softplus of the unconstrained parameters."""
    soft = torch.nn.functional.softplus
    names = ("raw_process", "raw_measurement", "raw_query_noise")
    noise = [soft(getattr(layer, name)) for name in names]
    decay, frequency = soft(layer.raw_decay), layer.frequency
    if layer.settings.form == "isotropic":
        return afa.IsotropicSDE(decay, frequency, afa.Noise(*noise))
    if layer.settings.form == "diagonal":
        return afa.DiagonalSDE(decay, frequency, afa.Noise(*noise))
    radial, tangential = (afa.Noise(*each) for each in zip(*noise, strict=True))
    return afa.RadialTangentialSDE(decay, frequency, radial, tangential)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighting", [*WEIGHTINGS, *ROBUST])
@pytest.mark.parametrize(("bias", "layout"), [(True, "interleaved"), (False, "halves")])
def test_projections_around_attention(form, weighting, bias, layout):
    layer = make(form, weighting=weighting, bias=bias, layout=layout)
    if weighting in ROBUST:
        weight = ROBUST[weighting](torch.nn.functional.softplus(layer.raw_dof))
    else:
        weight = WEIGHTINGS[weighting]()
    x = draw(3, 6, 8)
    close(layer(x)[0], by_hand(layer, x, model_by_hand(layer), weight))


def tensors(layer):
    return Layer(layer.settings, {name: torch.as_tensor(x) for name, x in layer.parameters.items()})


def test_oracle(variant, make_layer, expected_output, tokens, tokens_with_nan):
    layer, (x, times, key_mask) = make_layer(variant), tokens
    expected = expected_output(layer, x, times, key_mask)
    module = layers.AdaptiveFilterAttention.from_layer(tensors(layer))
    for padded in (x, tokens_with_nan[0]):
        found, _ = module(
            torch.as_tensor(padded),
            query_times=torch.as_tensor(times),
            key_mask=torch.as_tensor(key_mask),
        )
        np.testing.assert_allclose(
            found.detach()[key_mask], expected[key_mask], rtol=1e-10, atol=1e-10
        )


def test_padding_equals_shorter_sequences(variant, make_layer, tokens, tokens_with_nan):
    module = layers.AdaptiveFilterAttention.from_layer(tensors(make_layer(variant)))
    x, times, _ = (torch.as_tensor(each) for each in tokens)
    padded, padded_times, key_mask = (torch.as_tensor(each) for each in tokens_with_nan)
    found = module.estimate(padded, query_times=padded_times, key_mask=key_mask, need_weights=True)
    alone = module.estimate(x[1, :3], query_times=times[1, :3], need_weights=True)
    close(found.output[1, :3], alone.output)
    several = isinstance(found.weights, tuple)
    weights = found.weights if several else [found.weights]
    shorter = alone.weights if several else [alone.weights]
    for long, short in zip(weights, shorter, strict=True):
        close(long[1, :, :3, :3], short)


def test_masks_compose():
    layer, x = make(), draw(2, 5, 8)
    mask = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.7
    keys = torch.tensor([[True] * 5, [True, False, True, True, False]])
    both = mask & keys[:, None, None, :] & torch.ones(5, 5, dtype=torch.bool).tril()
    found, weights = layer(x, mask=mask, key_mask=keys, need_weights=True)
    close(found[keys], layer(x, mask=both, causal=False)[0][keys])
    assert torch.equal(weights > 0, both.expand_as(weights))


def test_padding_has_no_effect_on_gradients():
    layer, x = make(gated=True, fixed=()), draw(1, 5, 8)
    key_mask = torch.arange(5) < 3

    def gradients(x, **options):
        total = layer(x, **options)[0][:, :3].square().sum()
        return torch.autograd.grad(total, list(layer.parameters()))

    padded = torch.where(key_mask[:, None], x, torch.nan)
    close(gradients(padded, key_mask=key_mask), gradients(x[:, :3]))


def test_cross_attention_and_its_times():
    layer, x, memory = make("radial_tangential"), draw(2, 4, 8), draw(2, 7, 8, seed=2)
    times, key_times = torch.arange(4.0).double() + 3.5, torch.arange(7.0).double()
    found, weights = layer(
        x, memory, query_times=times, key_times=key_times, causal=False, need_weights=True
    )
    assert weights.radial.shape == weights.tangential.shape == (2, 2, 4, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    reordered, _ = layer(
        x, memory[:, order], query_times=times, key_times=key_times[order], causal=False
    )
    close(found, reordered)
    separate, _ = layer(x, memory, memory, query_times=times, key_times=key_times, causal=False)
    close(found, separate)


@pytest.mark.parametrize("leading", [(), (1,), (2, 3)])
def test_any_batch_axes(leading):
    layer, x = make("diagonal", gated=True), draw(*leading, 5, 8)
    times = torch.linspace(0.0, 3.0, 5).double().expand(*leading, 5)
    found, weights = layer(x, query_times=times, need_weights=True)
    rows = [layer(row, query_times=times.reshape(-1, 5)[0])[0] for row in x.reshape(-1, 5, 8)]
    close(found, torch.stack(rows).reshape(x.shape))
    assert weights.shape == (*leading, 2, 5, 5, 2)


@pytest.mark.parametrize("timed", [False, True])
def test_steps_equal_the_parallel_form(variant, make_layer, tokens, timed):
    module = layers.AdaptiveFilterAttention.from_layer(tensors(make_layer(variant)))
    x, times, key_mask = (torch.as_tensor(each) for each in tokens)
    key_mask = key_mask.flip(-1)  # padding first, as in prompts of different lengths
    options = {"query_times": times} if timed else {}
    parallel = module.estimate(x, key_mask=key_mask, **options)
    cache, outputs, precisions = module.empty_cache(x, mask=key_mask), [], []
    several = isinstance(parallel.precision, tuple)
    for start, stop in ((0, 3), (3, 4), (4, 5)):
        found, cache = module.step(
            x[:, start:stop],
            cache,
            time=times[:, start:stop] if timed else None,
            mask=key_mask[:, start:stop],
            need_precision=True,
        )
        outputs.append(found.output)
        precisions.append(found.precision if several else [found.precision])
    close(torch.cat(outputs, dim=1)[key_mask], parallel.output[key_mask], 1e-10)
    for k, each in enumerate(parallel.precision if several else [parallel.precision]):
        found = torch.cat([precision[k] for precision in precisions], dim=2)
        close(found.movedim(1, 2)[key_mask], each.movedim(1, 2)[key_mask], 1e-10)


def test_gate_is_between_estimate_and_own_value():
    layer, x = make(gated=True), draw(2, 6, 8)
    no_pairs = torch.zeros(6, 6, dtype=torch.bool)
    own = own_value(layer, x)
    close(layer(x, mask=no_pairs)[0], own)
    with torch.no_grad():
        layer.raw_prior_precision.fill_(60.0)
    assert (layer(x)[0] - own).abs().max() < 0.2 * own.abs().max()
    with torch.no_grad():
        layer.raw_prior_precision.fill_(-60.0)
    ungated = layers.AdaptiveFilterAttention.from_settings(
        layer.settings._replace(gated=False),
        {n: x for n, x in layer.layer.parameters.items() if n != "raw_prior_precision"},
    )
    close(layer(x)[0], ungated(x)[0])


def own_value(layer, x):
    """Return the outputs of the tokens' own values."""
    return layer.out_proj(layer.v_proj(x))


def test_innovation_and_estimate_differ_by_the_value():
    layer, x = make(), draw(2, 6, 8)
    innovation = layers.AdaptiveFilterAttention.from_settings(
        layer.settings._replace(output="innovation"), layer.layer.parameters
    )
    close(layer(x)[0] - innovation(x)[0], own_value(layer, x) - layer.out_proj.bias)


def test_horizon_is_an_additional_lag():
    layer, x = make(), draw(2, 6, 8)
    ahead = layers.AdaptiveFilterAttention.from_settings(
        layer.settings._replace(horizon=0.8), layer.layer.parameters
    )
    sde = layer.layer.sde
    transition = torch.exp((-sde.decay[:, None] + 1j * sde.frequency) * 0.8)  # (heads, modes)
    eye = torch.eye(8, dtype=torch.float64)
    with torch.no_grad():
        layer.out_proj.weight.copy_(eye), layer.out_proj.bias.zero_()
        ahead.out_proj.weight.copy_(eye), ahead.out_proj.bias.zero_()
    found, predicted = (
        torch.view_as_complex(each(x)[0].unflatten(-1, (2, 2, 2))) for each in (layer, ahead)
    )
    close(predicted, transition * found)
