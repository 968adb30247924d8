"""Training the layer for PyTorch: initial values, gradients, and fixed parameters."""

import pytest

from afa_core.layer import Start

from .torch_layers import FORMS, close, draw, make

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")

PARTS = {
    "plain": {},
    "gated": {"gated": True},
    "ahead": {"horizon": 0.7, "output": "innovation", "normalised": ("query", "key")},
}


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
def test_initial_values_are_those_given(form, constraint, damping):
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


def test_default_start_has_the_temperature_of_dot_products():
    layer = layers.AdaptiveFilterAttention(64, 2, dtype=torch.float64)
    noise = layer.layer.sde.noise
    temperature = 16 * (noise.measurement + noise.query) / 2.0
    close(temperature, torch.full_like(temperature, 32.0**0.5))


def test_projections_are_drawn_at_the_given_scale():
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
def test_training_changes_all_but_fixed_parameters(form, constraint, fixed):
    options = {"gated": True, "normalised": ("query", "key", "value"), "constraint": constraint}
    layer = make(form, fixed=fixed, **options)
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    constant = {name for name in before if name.removeprefix("raw_") in fixed}
    assert len(constant) == len(fixed)
    assert set(dict(layer.named_buffers())) == constant
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    for name, x in gradients(layer, draw(2, 7, 8)).items():
        assert x.abs().min() > 0 or not name.startswith("raw_"), name
    optimiser.step()
    changed = {name for name, x in layer.state_dict().items() if not torch.equal(x, before[name])}
    assert changed == set(before) - constant


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", PARTS)
def test_gradients_equal_differences(form, part):
    layer = make(form, fixed=(), **PARTS[part])
    x, upstream = draw(1, 5, 8), draw(1, 5, 8, seed=3)
    found = torch.autograd.grad((layer(x)[0] * upstream).sum(), list(layer.parameters()))
    for (name, parameter), gradient in zip(layer.named_parameters(), found, strict=True):
        direction, step = draw(*parameter.shape, seed=7), 1e-5
        values = []
        for sign in (1.0, -1.0):
            moved = {name: parameter.detach() + sign * step * direction}
            out = torch.func.functional_call(layer, moved, (x,))[0]
            values.append(float((out.detach() * upstream).sum()))
        expected = (values[0] - values[1]) / (2.0 * step)
        derivative = float((gradient * direction).sum())
        assert abs(derivative - expected) < 1e-7 * max(1.0, abs(expected)), name
