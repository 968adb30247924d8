"""Errors of the layer for PyTorch: settings, tokens, options, steps and parameters."""

import pytest

from afa_core.layer import Start

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")


def make(**settings):
    return layers.AdaptiveFilterAttention(8, 2, **settings)


BAD_SETTINGS = [
    ({"embed_dim": 0}, ValueError, "`embed_dim` must be a positive integer, got 0"),
    ({"num_heads": 2.0}, ValueError, "`num_heads` must be a positive integer, got 2.0"),
    ({"embed_dim": 10}, ValueError, "`modes` must be given unless `embed_dim` is a multiple"),
    ({"modes": 0}, ValueError, "`modes` must be a positive integer, got 0"),
    ({"modes": 2, "value_modes": 3}, ValueError, "`value_modes` must be `modes`"),
    ({"form": "banana"}, ValueError, "`form` must be one of 'isotropic', 'diagonal'"),
    ({"weighting": "t"}, ValueError, "`weighting` must be one of 'student_t'"),
    ({"bias": 1}, ValueError, "`bias` must be True or False, got 1"),
    ({"normalised": "key"}, ValueError, "`normalised` must be a tuple of"),
    ({"fixed": ("dofs",)}, ValueError, r"`fixed` must name parameters .*got \['dofs'\]"),
    ({"horizon": -1.0}, ValueError, "`horizon` must be a finite number ≥ 0, got -1.0"),
    ({"form": "diagonal", "sphere": True}, ValueError, "`sphere` must be False in the diagonal"),
    ({"start": Start(dof=0.0)}, ValueError, "`dof` must start at a finite number > 0"),
    ({"start": Start(decay=(0.0, 1.0))}, ValueError, "`start` must give decays"),
    ({"start": Start(decay=0.1)}, TypeError, r"`decay` .* got 0\.1\. Pass \(0\.1, 0\.1\)"),
    ({"start": {"decay": (0.1, 0.2)}}, TypeError, "`start` must be a `Start`, got dict"),
    ({"forms": "diagonal"}, TypeError, "settings must be among `form`.*got `forms`"),
    ({"dropout": 1.5}, ValueError, "`dropout` must be a probability, from 0 to 1, got 1.5"),
    ({"dropout": "no"}, TypeError, "`dropout` must be a number, got str"),
    ({"num_kv_heads": 3}, ValueError, r"`kv_heads` must be a divisor of `heads` \(2\), got 3"),
    ({"num_kv_heads": 0}, ValueError, "`kv_heads` must be a positive integer or None, got 0"),
    (
        {"value_features": 6, "gated": True},
        ValueError,
        r"`value_features` must be `features` \(8\)",
    ),
    ({"kdim": 6}, TypeError, "Pass `key_features`"),
    ({"batch_first": True}, TypeError, r"tokens are \(batch, tokens, features\)"),
]


@pytest.mark.parametrize(("settings", "error", "message"), BAD_SETTINGS)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        layers.AdaptiveFilterAttention(**{"embed_dim": 8, "num_heads": 2} | settings)


def ones(*shape):
    return torch.ones(*shape, dtype=torch.bool)


def nested():
    return torch.nested.nested_tensor([torch.zeros(3, 8), torch.zeros(5, 8)], layout=torch.jagged)


BAD_TOKENS = [
    ({"query": torch.zeros(2, 5, 6)}, ValueError, r"`query` must have shape \(..., tokens, 8\)"),
    ({"query": torch.zeros(8)}, ValueError, r"`query` must have shape \(..., tokens, 8\)"),
    ({"query": [[0.0] * 8]}, TypeError, "`query` must be a torch.Tensor, got list"),
    ({"query": torch.zeros(2, 5, 8).long()}, TypeError, "`query` must have a floating dtype"),
    ({"query": torch.zeros(2, 5, 8).double()}, TypeError, "`query` must have dtype float32"),
    ({"key": torch.zeros(2, 5, 6)}, ValueError, r"`key` must have shape \(..., tokens, 8\)"),
    ({"value": torch.zeros(2, 4, 8)}, ValueError, "to match the tokens of `key`"),
    ({"query": nested()}, TypeError, "ested ?Tensor. Pad it"),
    ({"logit_bias": ones(5, 5)}, TypeError, "`logit_bias` must have a real floating dtype"),
    (
        {"logit_bias": torch.zeros(5, 5), "implementation": "streaming"},
        ValueError,
        "`implementation` must be 'reference' or 'auto' with `logit_bias`, got 'streaming'",
    ),
    ({"mask": torch.zeros(5, 5)}, TypeError, r"`mask` must be boolean \(True attends\)"),
    ({"mask": ones(5, 4)}, ValueError, r"`mask` must broadcast to \(..., 5, 5\)"),
    ({"key_mask": torch.zeros(2, 5)}, TypeError, "`key_mask` must be boolean"),
    ({"key_mask": ones(2, 4)}, ValueError, r"`key_mask` must have shape \(..., 5\)"),
    ({"key_mask": [True]}, TypeError, "`key_mask` must be an array"),
    ({"mask": torch.zeros(5, 5), "key_mask": ones(5)}, TypeError, "`mask` must be boolean"),
    ({"query_times": torch.zeros(2, 4)}, ValueError, r"`query_times` must have shape \(..., 5\)"),
    ({"query_times": torch.tensor(0.0)}, ValueError, r"`query_times` must .* got \(\)"),
    ({"causal": None}, TypeError, "`causal` must be True or False"),
    ({"key_padding_mask": ones(2, 5)}, TypeError, "Pass `key_mask=~key_padding_mask`"),
    ({"attn_mask": ones(5, 5)}, TypeError, "Pass `mask`, which is True where a query may"),
    ({"is_causal": True}, TypeError, "Pass `causal`"),
    ({"implementation": "tiles"}, ValueError, "`implementation` must be one of 'auto', 'linear'"),
    ({"masks": None}, TypeError, "unexpected keyword argument 'masks'"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_TOKENS)
def test_bad_tokens(arguments, error, message):
    with pytest.raises(error, match=message):
        make()(**{"query": torch.zeros(2, 5, 8)} | arguments)


def test_bad_steps():
    layer, x = make(), torch.zeros(2, 5, 8)
    cache = layer.empty_cache(x)
    with pytest.raises(ValueError, match=r"`tokens` must have shape \(..., tokens, 8\)"):
        layer.step(x[0, 0], cache)
    with pytest.raises(ValueError, match=r"`time` must have shape \(..., 2\)"):
        layer.step(x[:, :2], cache, time=torch.zeros(2, 3))
    with pytest.raises(TypeError, match="`cache` must be of type DecodeCache"):
        layer.step(x, None)


def test_bad_parameters():
    settings, parameters = make().layer
    from_settings = layers.AdaptiveFilterAttention.from_settings
    arrays = {name: x.detach().numpy() for name, x in parameters.items()}
    with pytest.raises(TypeError, match=r"`query_weight` must be a torch.Tensor, got ndarray"):
        from_settings(settings, arrays)
    with pytest.raises(ValueError, match=r"`raw_decay` must have shape \(2, 2\), got \(2,\)"):
        from_settings(settings._replace(form="diagonal"), parameters)
    with pytest.raises(ValueError, match="`other` is no parameter of a layer of form 'isotropic'"):
        from_settings(settings, parameters | {"other": parameters["raw_decay"]})
