"""Conversion changes no output, and its parameters are those of the rotary limit."""

import copy

import pytest

from .models import (
    FAMILIES,
    STEPS,
    adaptive,
    difference,
    draw,
    dynamics,
    make,
    padded,
    torch,
    transformers,
)

OPTIONS = {
    "sample": lambda: {"sample": draw(seed=5)},
    "arguments": lambda: {"sample": {"input_ids": draw(), "attention_mask": padded()}},
    "bound": dict,
    "radius": lambda: {"radius": 5.0},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_same_logits(family, options):
    model, ids = make(family), draw()
    converted = adaptive.convert(copy.deepcopy(model), **OPTIONS[options]())
    with torch.no_grad():
        assert difference(converted(ids).logits, model(ids).logits) < 1e-5
        for side in ("left", "right"):
            mask = padded(side=side)
            found, expected = (x(ids, attention_mask=mask).logits for x in (converted, model))
            assert difference(found, expected, mask) < 1e-5


def test_same_logits_in_double_precision():
    model = make("gpt_neox", dtype=torch.float64, initializer_range=0.3)
    converted, ids = adaptive.convert(copy.deepcopy(model)), draw()
    assert dynamics(converted)[0].raw_radius.dtype == torch.float64
    assert difference(converted(ids).logits, model(ids).logits) < 1e-8


@pytest.mark.parametrize("family", FAMILIES)
def test_same_generated_tokens(family):
    model, options = make(family, initializer_range=0.2), {"attention_mask": padded(), **STEPS}
    converted = adaptive.convert(copy.deepcopy(model), sample=draw())
    found, expected = (each.generate(draw(), **options) for each in (converted, model))
    assert found.shape[1] == draw().shape[1] + 50
    assert torch.equal(found, expected)


YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "attention_factor": 1.5}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}


@pytest.mark.parametrize("parameters", [YARN, LINEAR])
def test_scaled_rotary_embeddings(parameters):
    model = make(rope_parameters=parameters)
    converted, ids = adaptive.convert(copy.deepcopy(model)), draw()
    assert difference(converted(ids).logits, model(ids).logits) < 1e-5


def test_rotary_embeddings_may_lengthen_keys():
    plain, scaled = (adaptive.convert(make(**each)) for each in ({}, {"rope_parameters": YARN}))
    for one, other in zip(dynamics(plain), dynamics(scaled), strict=True):
        assert torch.allclose(other.raw_radius, 1.5 * one.raw_radius)


def lengths(model, ids):
    """Return the lengths of the longest keys, (key heads,) of each attention module."""
    converted = adaptive.convert(copy.deepcopy(model), sample=ids)
    return [each.raw_radius / 1.5 for each in dynamics(converted)]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_key_is_longer_than_the_bound(family):
    model = make(family)
    with torch.no_grad():  # inputs along the longest direction of the first layer's keys
        embedding = model.get_input_embeddings().weight
        layer = model.get_decoder().layers[0]
        keys = (
            layer.attention.query_key_value.weight[8:16]
            if family == "gpt_neox"
            else layer.self_attn.k_proj.weight[:8]
        )
        longest = torch.linalg.svd(keys * layer.input_layernorm.weight).Vh[0]
        embedding[3:8] = longest
        if family == "gpt_neox":  # all of a key is due to the bias of the norm
            layer.input_layernorm.bias += 100.0 * longest
    ids = torch.arange(3, 64)[None]
    bounds = [each.raw_radius for each in dynamics(adaptive.convert(copy.deepcopy(model)))]
    for bound, length in zip(bounds, lengths(model, ids), strict=True):
        assert (length <= bound).all()
    ratio = lengths(model, ids)[0][0] / bounds[0][0]
    assert ratio > (0.8 if family == "qwen2" else 0.9)  # whose biases point elsewhere


def test_parameters_are_those_of_the_rotary_limit():
    model = adaptive.convert(make(), sample=draw())
    for each in dynamics(model):
        x = each.values()
        assert x["decay"].max() < 1e-11
        assert x["process"].max() < 1e-11
        modes = 8 // 2 + 1
        temperature = modes * (x["measurement"] + x["query_noise"]) / 2 / x["inverse_temperature"]
        assert torch.allclose(temperature, torch.full((4,), 8**0.5))
        assert torch.allclose(x["radius"].repeat_interleave(2) ** 2, modes * x["measurement"])
    sde = each.sde
    assert sde.decay.shape == sde.noise.process.shape == (4,)


def test_process_noise_does_not_favour_unrelated_keys():
    """The weight of a key orthogonal to a mean query has no slope in the process noise."""
    from afa_torch.transformers.dynamics import Start, Visible, rotary_limit

    start = Start(torch.tensor([3.0], dtype=torch.float64), torch.tensor([2.0]).double(), 0.3)
    module = adaptive.Dynamics(1, 1, dtype=torch.float64)
    module.start(rotary_limit(start, 3))
    query, key, value = torch.zeros(3, 1, 1, 2, 6, dtype=torch.float64).unbind()
    query[..., 0], key[..., 1], value[..., 0, 0] = 2.0, 2.5, 1.0
    module(query, key, value, Visible(causal=True))[0, 0, 1, 0].backward()
    assert abs(module.raw_process.grad) < 1e-9
    key = query.clone()  # a related one loses weight with its lag
    module.zero_grad()
    module(query, key, value, Visible(causal=True))[0, 0, 1, 0].backward()
    assert module.raw_process.grad < -1e-3


def test_half_precision_keeps_the_length_of_keys():
    from afa_torch.transformers.dynamics import extended

    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16):
        key, radius = torch.randn(1, 2, 50, 8).to(dtype), torch.tensor([9.0, 12.0])
        found = extended(key, radius).double().square().sum(-1)
        assert (found / radius[:, None] ** 2 - 1).abs().max() < 1e-4


def test_a_model_in_bfloat16_is_as_exact_as_before():
    exact, ids = make()(draw()).logits, draw()
    model = make(dtype=torch.bfloat16)
    before = difference(model(ids).logits, exact)
    converted = adaptive.convert(model, sample=ids)
    assert {x.dtype for each in dynamics(model) for x in each.parameters()} == {torch.float32}
    assert difference(converted(ids).logits, exact) < 1.5 * before


def test_casts_leave_dynamics_in_single_precision():
    model = adaptive.convert(make(), sample=draw())
    before = dynamics(model)[0].raw_decay
    for dtype in (torch.bfloat16, torch.float16):
        each = dynamics(model.to(dtype))[0]
        assert model.lm_head.weight.dtype == dtype
        assert each.raw_decay is before
        assert each.raw_radius.dtype == torch.float32
        assert torch.equal(each.raw_decay, torch.full((4,), 1e-12))
    assert dynamics(model.double())[0].raw_decay.dtype == torch.float64


def test_models_without_a_head():
    model = make().model
    expected = model(draw()).last_hidden_state
    assert difference(adaptive.convert(model)(draw()).last_hidden_state, expected) < 1e-5


def test_what_cannot_be_converted_is_refused():
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=8)
    with pytest.raises(TypeError, match=r"of the types .*'llama'.*GPT2LMHeadModel of type 'gpt2'"):
        adaptive.convert(transformers.GPT2LMHeadModel(config))
    with pytest.raises(TypeError, match="got Linear of type None"):
        adaptive.convert(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="must not have been converted"):
        adaptive.convert(adaptive.convert(make()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": draw(), "radius": 3.0}, "`radius` must be None with a `sample`"),
        ({"radius": -1.0}, "`radius` must be a finite number > 0, got -1.0"),
        ({"fixed": ["decays"]}, r"`fixed` must name parameters among .*got \['decays'\]"),
    ],
)
def test_bad_options_leave_a_model_as_it_is(options, message):
    model = make()
    with pytest.raises(ValueError, match=message):
        adaptive.convert(model, **options)
    assert model.config._attn_implementation == "sdpa"
    assert not dynamics(model)


def test_a_sample_leaves_each_module_in_its_mode():
    model = make().train()
    model.model.layers[0].eval()
    before = {name: each.training for name, each in model.named_modules()}
    adaptive.convert(model, sample=draw())
    after = {name: each.training for name, each in model.named_modules()}
    assert {name: after[name] for name in before} == before


def test_a_bad_sample_leaves_a_model_as_it_is():
    model = make().train()
    with pytest.raises(IndexError):
        adaptive.convert(model, sample=torch.full((1, 4), 1000))
    assert not any(hasattr(each, "afa") for each in model.modules())
    assert model.config._attn_implementation == "sdpa"
    assert model.training


def test_a_radius_too_large_for_single_precision_warns():
    with pytest.warns(UserWarning, match="rounding changes logits by"):
        adaptive.convert(make(), radius=1e3)


def test_defaults_that_were_registered_stay():
    adaptive.register(decay=0.1, radius=5.0, implementation="streaming")
    adaptive.convert(make())
    assert transformers.AttentionInterface()["afa"].keywords["defaults"].decay == 0.1
