"""The implementation "afa" in models without parameters of it: the result of dot products."""

import pytest

from .models import STEPS, adaptive, difference, draw, make, padded, torch, transformers

ENCODER = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.1,
}
SEQ2SEQ = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "init_std": 0.2,
}


def encoder_decoder():
    torch.manual_seed(0)
    config = transformers.BartConfig(**SEQ2SEQ)
    return transformers.BartForConditionalGeneration(config).eval()


def both(model, call):
    """Return what a call gives with dot products and with the implementation."""
    with torch.no_grad():
        expected = call(model)
        model.set_attn_implementation("afa")
        return call(model), expected


@pytest.mark.parametrize("implementation", ["reference", "streaming"])
@pytest.mark.parametrize("side", [None, "left", "right"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt_neox"])
def test_causal_models(family, side, implementation):
    adaptive.register(implementation=implementation)
    mask = None if side is None else padded(side=side)
    options = {"input_ids": draw(), "attention_mask": mask}
    found, expected = both(make(family), lambda model: model(**options).logits)
    assert difference(found, expected, mask) < 1e-5


def test_the_name_is_an_argument_of_models():
    config = make().config
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="afa")
    assert model.config._attn_implementation == "afa"


@pytest.mark.parametrize("side", [None, "right"])
def test_encoders(side):
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**ENCODER)).eval()
    mask = None if side is None else padded(side=side)
    options = {"input_ids": draw(), "attention_mask": mask}
    found, expected = both(model, lambda model: model(**options).last_hidden_state)
    assert difference(found, expected, mask) < 1e-5


def test_cross_attention():
    options = {"input_ids": draw(), "attention_mask": padded(side="right")}
    decoder = draw(tokens=7)
    found, expected = both(
        encoder_decoder(), lambda model: model(**options, decoder_input_ids=decoder).logits
    )
    assert difference(found, expected) < 1e-5
    generated = both(encoder_decoder(), lambda model: model.generate(**options, max_length=20))
    assert torch.equal(*generated)


@pytest.mark.parametrize("queries", [5, 7])
def test_lags_of_cross_attention_are_zero(queries):
    """Also where there are as many queries as keys: decay has no effect between two sequences."""
    options = {"input_ids": draw(tokens=7), "decoder_input_ids": draw(tokens=queries)}
    model = encoder_decoder()
    with torch.no_grad():
        before = model(**options).logits
        for layer in model.model.decoder.layers:
            layer.encoder_attn.config = transformers.BartConfig(attn_implementation="afa")
        adaptive.register(decay=0.5, process=0.5, radius=20.0)
        assert difference(model(**options).logits, before) < 1e-4
        model.set_attn_implementation("afa")
        assert difference(model(**options).logits, before) > 1e-3


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt_neox"])
def test_generation(family, cache):
    mask = padded()
    options = {"attention_mask": mask, "cache_implementation": cache, "disable_compile": True}

    def generate(model):
        return model.generate(draw(), **STEPS | {"max_new_tokens": 20}, **options)

    assert torch.equal(*both(make(family), generate))


def test_half_precision():
    model = make(dtype=torch.bfloat16)
    ids = draw()
    exact = make()(ids).logits
    found, expected = both(model, lambda model: model(ids).logits)
    assert found.dtype == torch.bfloat16
    assert difference(found, exact) < 1.5 * difference(expected, exact)


class Module(torch.nn.Module):
    is_causal = True


def call(**options):
    """Call the registered function as a model does."""
    tokens = torch.randn(3, 2, 1, 4, 8).unbind()
    function = transformers.AttentionInterface()["afa"]
    return function(Module(), *tokens, **{"attention_mask": None, "scaling": 1.0} | options)


def test_keys_may_be_zero():
    query, value = torch.randn(2, 1, 1, 4, 8).unbind()
    function = transformers.AttentionInterface()["afa"]
    found, _ = function(Module(), query, torch.zeros_like(query), value, None)
    counts = torch.arange(1.0, 5.0)[:, None]
    assert torch.allclose(found[0, :, 0], value[0, 0].cumsum(0) / counts, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"dropout": 0.1}, ValueError, "`dropout` must be 0 .*, got 0.1. Set"),
        ({"softcap": 30.0}, ValueError, "`softcap` must be None"),
        ({"position_bias": torch.ones(1)}, ValueError, "`position_bias` must be None"),
        ({"attention_mask": torch.zeros(2, 1, 4, 4)}, TypeError, "must be boolean.*float32"),
    ],
)
def test_what_is_not_supported_is_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        call(**options)


def test_heads_have_an_even_number_of_channels():
    tokens = torch.randn(3, 1, 1, 4, 7).unbind()
    with pytest.raises(ValueError, match=r"even number of channels per head.*got 7"):
        transformers.AttentionInterface()["afa"](Module(), *tokens, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": -1.0}, "`decay` must be a finite number ≥ 0, got -1.0"),
        ({"radius": float("nan")}, "`radius` must be a finite number"),
        ({"process": 0.1}, "`radius` must be given with a `decay` or `process`"),
    ],
)
def test_defaults_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        adaptive.register(**options)
