"""Training the layer for PyTorch: initial values, gradients, and fixed parameters."""

import itertools

import pytest

from afa_core.layer import Settings, Start, trained

from .torch_layers import FORMS, close, draw, make

torch = pytest.importorskip("torch")
state_name = pytest.importorskip("afa_torch.projections").state_name
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
        weight = layer.layer.parameters[f"{name}_weight"].detach()
        assert abs(float(weight.std()) * (256 + 128) ** 0.5 - 1.0) < 0.02
        assert abs(float(weight.mean())) < 1e-3
        assert not layer.layer.parameters[f"{name}_bias"].any()
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


def valid_settings():
    """Yield the settings of every kind of layer that there is."""
    choices = {
        "form": FORMS,
        "weighting": ("student_t", "gaussian", "rational", "uniform"),
        "correlated": (False, True),
        "value_rotation": (True, False),
        "damping": ("free", "coupled"),
        "sphere": (False, True),
        "part": (
            {},
            {"gated": True},
            {"output": "innovation", "horizon": 0.5, "bias": False},
            {"normalised": ("query", "key", "value"), "constraint": "absolute"},
        ),
    }
    for values in itertools.product(*choices.values()):
        options = dict(zip(choices, values, strict=True))
        settings = Settings(8, 2, 2, 2, fixed=(), **options.pop("part"), **options)
        if settings.form != "diagonal" or (settings.value_rotation and not settings.sphere):
            yield settings


@pytest.mark.parametrize("weighting", ["student_t", "gaussian", "rational", "uniform"])
def test_every_parameter_has_a_gradient(weighting):
    """Data parallelism waits for that of each; with one missing the second step is an error."""
    x = draw(2, 5, 8)
    for settings in valid_settings():
        if settings.weighting != weighting:
            continue
        layer = layers.AdaptiveFilterAttention.from_settings(settings).double()
        for run in (
            lambda layer: layer(x)[0],
            lambda layer: layer(x, x, x, causal=False)[0],
            lambda layer: layer.step(x, layer.empty_cache(x))[0].output,
        ):
            layer.zero_grad()
            run(layer).square().sum().backward()
            missing = [name for name, each in layer.named_parameters() if each.grad is None]
            assert not missing, settings


def test_what_is_not_trained_has_no_effect():
    x, count = draw(2, 5, 8), 0
    for settings in valid_settings():
        layer = layers.AdaptiveFilterAttention.from_settings(settings).double()
        constant = set(layer.layer.parameters) - set(trained(settings))
        assert {state_name(name) for name in constant} == set(dict(layer.named_buffers()))
        if not constant:
            continue
        expected, count = layer(x)[0], count + 1
        with torch.no_grad():
            for name in constant:
                each = layer.layer.parameters[name]
                each += torch.rand_like(each)
        assert torch.equal(layer(x)[0], expected), settings
    assert count == sum(each.weighting == "uniform" for each in valid_settings())


@pytest.mark.parametrize("form", FORMS)
def test_states_hold_all_parameters_whatever_is_trained(form):
    """Files and states do not depend on which parameters are trained."""
    kinds = [
        layers.AdaptiveFilterAttention(8, 2, form=form, weighting=each)
        for each in ("gaussian", "uniform")
    ]
    states = [each.state_dict() for each in kinds]
    assert states[0].keys() == states[1].keys()
    kinds[1].load_state_dict(states[0])
    assert all(torch.equal(x, states[0][name]) for name, x in kinds[1].state_dict().items())
