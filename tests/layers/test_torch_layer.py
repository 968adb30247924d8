"""The layer of PyTorch: what it computes, where it starts, and what training moves."""

import numpy as np
import pytest

import afa_core as afa
from afa_core.layer import Layer, Start

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")

FORMS = ("isotropic", "diagonal", "radial_tangential")
WEIGHTINGS = {"gaussian": afa.Gaussian, "uniform": afa.Uniform}
ROBUST = {"student_t": afa.StudentT, "rational": afa.Rational}
PARTS = {
    "plain": {},
    "gated": {"gated": True},
    "ahead": {"horizon": 0.7, "output": "innovation", "normalised": ("query", "key")},
}


def make(form="isotropic", *, seed=0, embed_dim=8, dtype=torch.float64, **settings):
    """A layer of two heads whose parameters are off their start."""
    torch.manual_seed(seed)
    layer = layers.AdaptiveFilterAttention(embed_dim, 2, form=form, dtype=dtype, **settings)
    with torch.no_grad():
        for x in layer.layer.parameters.values():
            x += 0.2 * torch.rand_like(x)
    return layer


def draw(*shape, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def by_hand(layer, x, sde, weighting):
    """Projections written out, around attention with a given model."""

    def heads(name):
        bias = getattr(layer, f"{name}_bias", None)
        y = torch.nn.functional.linear(x, getattr(layer, f"{name}_weight"), bias)
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
    bias = getattr(layer, "output_bias", None)
    return torch.nn.functional.linear(together, layer.output_weight, bias)


def model_by_hand(layer):
    """The model written out: softplus of free parameters."""
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


def test_oracle(variant, made, expected, tokens):
    layer, (x, times, seen) = made(variant), tokens
    want = expected(layer, x, times, seen)
    module = layers.AdaptiveFilterAttention.from_layer(tensors(layer))
    spoilt = np.where(seen[..., None], x, np.nan)
    for given in (x, spoilt):
        found, _ = module(
            torch.as_tensor(given),
            query_times=torch.as_tensor(times),
            key_mask=torch.as_tensor(seen),
        )
        np.testing.assert_allclose(found.detach()[seen], want[seen], rtol=1e-10, atol=1e-10)


def test_padding_is_as_if_it_were_not_there(variant, made, tokens):
    module = layers.AdaptiveFilterAttention.from_layer(tensors(made(variant)))
    x, times, seen = (torch.as_tensor(each) for each in tokens)
    spoilt = torch.where(seen[..., None], x, torch.nan)
    found = module.estimate(
        spoilt, query_times=torch.where(seen, times, torch.nan), key_mask=seen, need_weights=True
    )
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


def test_padding_leaves_no_trace_in_gradients():
    layer, x = make(gated=True, fixed=()), draw(1, 5, 8)
    seen = torch.arange(5) < 3

    def slopes(given, **options):
        total = layer(given, **options)[0][:, :3].square().sum()
        return torch.autograd.grad(total, list(layer.parameters()))

    close(slopes(torch.where(seen[:, None], x, torch.nan), key_mask=seen), slopes(x[:, :3]))


def test_cross_attention_and_its_times():
    layer, x, memory = make("radial_tangential"), draw(2, 4, 8), draw(2, 7, 8, seed=2)
    own, others = torch.arange(4.0).double() + 3.5, torch.arange(7.0).double()
    found, weights = layer(
        x, memory, query_times=own, key_times=others, causal=False, need_weights=True
    )
    assert weights.radial.shape == weights.tangential.shape == (2, 2, 4, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    again, _ = layer(x, memory[:, order], query_times=own, key_times=others[order], causal=False)
    close(found, again)
    apart, _ = layer(x, memory, memory, query_times=own, key_times=others, causal=False)
    close(found, apart)


@pytest.mark.parametrize("leading", [(), (1,), (2, 3)])
def test_leading_axes_are_free(leading):
    layer, x = make("diagonal", gated=True), draw(*leading, 5, 8)
    times = torch.linspace(0.0, 3.0, 5).double().expand(*leading, 5)
    found, weights = layer(x, query_times=times, need_weights=True)
    rows = [layer(row, query_times=times.reshape(-1, 5)[0])[0] for row in x.reshape(-1, 5, 8)]
    close(found, torch.stack(rows).reshape(x.shape))
    assert weights.shape == (*leading, 2, 5, 5, 2)


@pytest.mark.parametrize("timed", [False, True])
def test_steps_equal_the_parallel_form(variant, made, tokens, timed):
    module = layers.AdaptiveFilterAttention.from_layer(tensors(made(variant)))
    x, times, seen = (torch.as_tensor(each) for each in tokens)
    seen = seen.flip(-1)  # padding first, as prompts of different lengths have it
    given = {"query_times": times} if timed else {}
    whole = module.estimate(x, key_mask=seen, **given)
    cache, outputs, precisions = module.empty_cache(x, mask=seen), [], []
    several = isinstance(whole.precision, tuple)
    for start, stop in ((0, 3), (3, 4), (4, 5)):
        found, cache = module.step(
            x[:, start:stop],
            cache,
            time=times[:, start:stop] if timed else None,
            mask=seen[:, start:stop],
            need_precision=True,
        )
        outputs.append(found.output)
        precisions.append(found.precision if several else [found.precision])
    close(torch.cat(outputs, dim=1)[seen], whole.output[seen], 1e-10)
    for k, each in enumerate(whole.precision if several else [whole.precision]):
        found = torch.cat([precision[k] for precision in precisions], dim=2)
        close(found.movedim(1, 2)[seen], each.movedim(1, 2)[seen], 1e-10)


def test_gate_keeps_what_is_not_known_better():
    layer, x = make(gated=True), draw(2, 6, 8)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    own = by_itself(layer, x)
    close(layer(x, mask=nothing)[0], own)
    with torch.no_grad():
        layer.raw_prior_precision.fill_(60.0)
    assert (layer(x)[0] - own).abs().max() < 0.2 * own.abs().max()
    with torch.no_grad():
        layer.raw_prior_precision.fill_(-60.0)
    free = layers.AdaptiveFilterAttention.from_settings(
        layer.settings._replace(gated=False),
        {n: x for n, x in layer.layer.parameters.items() if n != "raw_prior_precision"},
    )
    close(layer(x)[0], free(x)[0])


def by_itself(layer, x):
    """Each token's own value, projected back."""
    value = x @ layer.value_weight.mT + layer.value_bias
    return value @ layer.output_weight.mT + layer.output_bias


def test_innovation_and_estimate_differ_by_the_value():
    layer, x = make(), draw(2, 6, 8)
    moved = layers.AdaptiveFilterAttention.from_settings(
        layer.settings._replace(output="innovation"), layer.layer.parameters
    )
    close(layer(x)[0] - moved(x)[0], by_itself(layer, x) - layer.output_bias)


def test_horizon_is_one_more_lag():
    layer, x = make(), draw(2, 6, 8)
    ahead = layers.AdaptiveFilterAttention.from_settings(
        layer.settings._replace(horizon=0.8), layer.layer.parameters
    )
    sde = layer.layer.sde
    turn = torch.exp((-sde.decay[:, None] + 1j * sde.frequency) * 0.8)  # (heads, modes)
    eye = torch.eye(8, dtype=torch.float64)
    with torch.no_grad():
        layer.output_weight.copy_(eye), layer.output_bias.zero_()
        ahead.output_weight.copy_(eye), ahead.output_bias.zero_()
    found, carried = (
        torch.view_as_complex(each(x)[0].unflatten(-1, (2, 2, 2))) for each in (layer, ahead)
    )
    close(carried, turn * found)


START = Start(
    decay=(0.05, 0.4),
    frequency=(0.02, 2.0),
    measurement=0.5,
    query=0.25,
    stationary=2.0,
    dof=3.0,
    inverse_temperature=0.7,
    prior_precision=0.3,
    radius=2.5,
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("constraint", ["softplus", "absolute"])
@pytest.mark.parametrize("damping", ["free", "coupled"])
def test_start_is_what_was_asked_for(form, constraint, damping):
    options = {"constraint": constraint, "damping": damping, "gated": True}
    layer = layers.AdaptiveFilterAttention(
        16, 2, form=form, start=START, dtype=torch.float64, **options
    )
    sde, tolerance = layer.layer.sde, 1e-13
    frequency = torch.tensor([2.0, 2.0 * 0.01 ** (1 / 3), 2.0 * 0.01 ** (2 / 3), 0.02])
    frequency = frequency.double()
    close(sde.frequency, frequency.expand(2, 4), 1e-7)
    modes = torch.tensor([0.4, 0.4 / 2, 0.4 / 4, 0.05]).double()
    if form == "diagonal" and damping == "free":
        decay = modes.expand(2, 4)
    elif form == "diagonal":
        decay = torch.tensor([[0.4], [0.05]]).double() * sde.frequency / 2.0
    else:
        decay = torch.tensor([0.4, 0.05]).double()
    close(sde.decay, decay, 1e-7)
    noises = (sde.radial_noise, sde.tangential_noise) if form == FORMS[2] else (sde.noise,)
    for noise in noises:
        close(noise.measurement, torch.full_like(noise.measurement, 0.5), tolerance)
        close(noise.query, torch.full_like(noise.query, 0.25), tolerance)
        if damping == "free":  # σ²/2μ = 2 η²
            close(noise.process / (2.0 * sde.decay), torch.ones_like(noise.process), tolerance)
    positive = torch.nn.functional.softplus if constraint == "softplus" else torch.abs
    for name, x in (("dof", 3.0), ("inverse_temperature", 0.7), ("prior_precision", 0.3)):
        raw = getattr(layer, f"raw_{name}")
        close(positive(raw), torch.full_like(raw, x), tolerance)


def test_usual_start_has_the_temperature_of_dot_products():
    layer = layers.AdaptiveFilterAttention(64, 2, dtype=torch.float64)
    noise = layer.layer.sde.noise
    temperature = 16 * (noise.measurement + noise.query) / 2.0
    close(temperature, torch.full_like(temperature, 32.0**0.5))


def test_projections_are_drawn_as_said():
    torch.manual_seed(0)
    layer = layers.AdaptiveFilterAttention(256, 4)
    for name in ("query", "key", "value", "output"):
        weight = getattr(layer, f"{name}_weight").detach()
        assert abs(float(weight.std()) * (256 + 128) ** 0.5 - 1.0) < 0.02
        assert abs(float(weight.mean())) < 1e-3
        assert not getattr(layer, f"{name}_bias").any()
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    torch.manual_seed(0)
    layer.reset_parameters()
    after = layer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def gradients(layer, x):
    output, _ = layer(x)
    target = draw(*output.shape, seed=5, dtype=output.dtype)
    layer.zero_grad()
    (output - target).square().mean().backward()
    return {name: x.grad for name, x in layer.named_parameters()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("constraint", ["softplus", "absolute"])
@pytest.mark.parametrize("fixed", [("frequency", "dof", "inverse_temperature"), (), ("decay",)])
def test_training_moves_what_is_not_fixed(form, constraint, fixed):
    options = {"gated": True, "normalised": ("query", "key", "value"), "constraint": constraint}
    layer = make(form, fixed=fixed, **options)
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    kept = {name for name in before if name.removeprefix("raw_") in fixed}
    assert len(kept) == len(fixed)
    assert set(dict(layer.named_buffers())) == kept
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    for name, x in gradients(layer, draw(2, 7, 8)).items():
        assert x.abs().min() > 0 or not name.startswith("raw_"), name
    optimiser.step()
    moved = {name for name, x in layer.state_dict().items() if not torch.equal(x, before[name])}
    assert moved == set(before) - kept


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", PARTS)
def test_gradients_are_slopes(form, part):
    layer = make(form, fixed=(), **PARTS[part])
    x, upstream = draw(1, 5, 8), draw(1, 5, 8, seed=3)
    found = torch.autograd.grad((layer(x)[0] * upstream).sum(), list(layer.parameters()))
    for (name, own), gradient in zip(layer.named_parameters(), found, strict=True):
        direction, step = draw(*own.shape, seed=7), 1e-5
        values = []
        for sign in (1.0, -1.0):
            moved = {name: own.detach() + sign * step * direction}
            out = torch.func.functional_call(layer, moved, (x,))[0]
            values.append(float((out.detach() * upstream).sum()))
        slope = (values[0] - values[1]) / (2.0 * step)
        assert abs(slope - float((gradient * direction).sum())) < 1e-7 * max(1.0, abs(slope)), name
