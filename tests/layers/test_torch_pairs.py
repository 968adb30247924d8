"""Masks, biases of logits, dropout, and heads and tokens of other numbers, in PyTorch."""

import math

import pytest

from afa_core.layer.pairwise import pairwise_estimate

from .torch_layers import FORMS, close, draw, make

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")

TIMES = torch.arange(5.0).double()


def times(key_times=TIMES):
    return {"query_times": TIMES, "key_times": key_times, "causal": False}


def parts(x):
    """Return the arrays of a precision or of weights, one or two."""
    return list(x) if isinstance(x, tuple) else [x]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("correlated", [False, True])
def test_bias_of_zero_changes_nothing(form, correlated):
    layer, x = make(form, correlated=correlated, gated=True), draw(2, 5, 8)
    options = {"need_weights": True, "implementation": "reference"}
    expected = layer.estimate(x, **options)
    found = layer.estimate(x, logit_bias=torch.zeros(1, 5).double(), **options)
    close(found.output, expected.output)
    for each in ("precision", "weights"):
        for a, b in zip(*(parts(getattr(y, each)) for y in (found, expected)), strict=True):
            close(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_bias_of_log_two_counts_a_key_twice(form):
    layer, x = make(form), draw(2, 5, 8)
    with torch.no_grad():
        layer.raw_inverse_temperature.fill_(math.log(math.expm1(1.0)))
    bias = torch.zeros(5, 5).double()
    bias[:, 1] = torch.log(torch.tensor(2.0).double())
    twice = torch.cat([x, x[:, 1:2]], dim=1)
    found = layer.estimate(x, x, logit_bias=bias, need_weights=True, **times())
    both = layer.estimate(x, twice, need_weights=True, **times(torch.cat([TIMES, TIMES[1:2]])))
    close(found.output, both.output)
    for a, b in zip(parts(found.precision), parts(both.precision), strict=True):
        close(a, b)
    axis = -2 if form == "diagonal" else -1
    for a, b in zip(parts(found.weights), parts(both.weights), strict=True):
        close(a.select(axis, 1), b.select(axis, 1) + b.select(axis, 5))


def test_bias_is_multiplied_by_the_inverse_temperature():
    layer, x = make(), draw(2, 5, 8)
    bias = draw(5, 5, seed=3)
    with torch.no_grad():
        layer.raw_inverse_temperature.fill_(1.3)
    beta = torch.nn.functional.softplus(torch.tensor(1.3, dtype=torch.float64))
    _, plain = layer(x, need_weights=True, causal=False)
    _, found = layer(x, need_weights=True, causal=False, logit_bias=bias)
    close(found, (plain.log() + beta * bias).softmax(-1))


@pytest.mark.parametrize("form", FORMS)
def test_bias_of_minus_infinity_is_a_mask(form):
    layer, x = make(form), draw(2, 5, 8)
    mask = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[2] = False
    bias = torch.zeros(5, 5).double().masked_fill(~mask, -torch.inf).requires_grad_()
    found, _ = layer(x, logit_bias=bias)
    close(found, layer(x, mask=mask)[0])
    gradient = torch.autograd.grad(found.square().sum(), [bias, *layer.parameters()])
    assert all(each.isfinite().all() for each in gradient)


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_every_rank(form):
    layer, x = make(form), draw(3, 5, 8)
    generator = torch.Generator().manual_seed(0)
    whole = torch.rand(3, 2, 5, 5, generator=generator) < 0.7
    for mask in (whole[0, 0], whole[:, 0], whole[:, :1], whole[:1], whole):
        full = mask[:, None] if mask.ndim == 3 else mask
        full = full.expand(3, 2, 5, 5)
        expected, _ = layer(x, mask=full)
        close(layer(x, mask=mask)[0], expected)
        bias = torch.zeros(mask.shape).double().masked_fill(~mask, -torch.inf)
        close(layer(x, logit_bias=bias)[0], expected)
        for k in range(3):
            close(layer(x[k], mask=full[k])[0], expected[k])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kv_heads", [1, 2, 3])
def test_grouped_heads_equal_repeated_heads(form, kv_heads):
    torch.manual_seed(0)
    options = {"form": form, "dtype": torch.float64, "normalised": ("key", "value"), "gated": True}
    grouped = layers.AdaptiveFilterAttention(24, 6, num_kv_heads=kv_heads, **options)
    repeated = layers.AdaptiveFilterAttention(24, 6, **options)
    state = dict(grouped.layer.parameters)
    with torch.no_grad():
        for name in ("key_gain", "value_gain"):
            state[name].copy_(torch.rand_like(state[name]))
    for name, x in repeated.layer.parameters.items():
        if x.shape != state[name].shape:
            heads = state[name].reshape(kv_heads, -1, *state[name].shape[1:])
            heads = heads.repeat_interleave(6 // kv_heads, dim=0)
            state[name] = heads.reshape(x.shape)
    repeated.load_state_dict(state)
    x = draw(2, 5, 24)
    assert grouped.k_proj.weight.shape == (4 * kv_heads, 24)
    close(grouped(x)[0], repeated(x)[0])
    cache, outputs = grouped.empty_cache(x), []
    for piece in x.split([3, 2], dim=1):
        attended, cache = grouped.step(piece, cache)
        outputs.append(attended.output)
    close(torch.cat(outputs, dim=1), repeated(x)[0], 1e-10)


def test_tokens_of_other_widths():
    layer = make(key_features=6, value_features=3)
    assert (layer.k_proj.in_features, layer.v_proj.in_features) == (6, 3)
    x, key, value = draw(2, 4, 8), draw(2, 7, 6), draw(2, 7, 3)
    assert layer(x, key, value, causal=False)[0].shape == (2, 4, 8)
    with pytest.raises(ValueError, match="`key` must be given, with 6 features, got None"):
        layer(x)
    with pytest.raises(ValueError, match="does not default to `key`, which has 6"):
        layer(x, key)
    with pytest.raises(ValueError, match="does not default to `tokens`, which has 8"):
        layer.empty_cache(x)
    with pytest.raises(ValueError, match=r"`value` must have shape \(..., tokens, 3\)"):
        layer(x, key, key)


@pytest.mark.parametrize("form", FORMS)
def test_dropout_of_weights(form):
    """Weights are zero or divided by 1 − p, and the estimate is their sum of values."""
    layer, x = make(form, dropout=0.4), draw(3, 5, 8)
    layer.eval()
    expected, plain = layer(x, need_weights=True)
    close(expected, make(form)(x)[0])
    layer.train()
    torch.manual_seed(0)
    output, dropped = layer(x, need_weights=True)
    kept = []
    for a, b in zip(parts(dropped), parts(plain), strict=True):
        seen = b > 0
        factor = torch.where(seen, a / torch.where(seen, b, 1.0), 0.0)
        close(factor * (factor - 1 / 0.6), torch.zeros_like(factor))
        pairs = factor.amax(-1) if form == "diagonal" else factor
        close(factor, (pairs[..., None] if form == "diagonal" else pairs).expand_as(factor) * seen)
        kept.append(pairs)
    assert all(torch.equal(kept[0] > 0, each > 0) for each in kept)
    assert 0.3 < float((kept[0] > 0).double().mean() / 0.6) < 1.0  # about half are causal
    torch.manual_seed(0)
    assert torch.equal(layer(x)[0], output)
    assert not torch.equal(layer(x)[0], output)


def test_dropout_keeps_the_mean():
    layer, x = make(dropout=0.3), draw(1, 5, 8)
    torch.manual_seed(0)
    with torch.no_grad():
        mean = layer(x.expand(20000, 5, 8))[0].mean(0)
        expected = layer.eval()(x)[0][0]
    assert (mean - expected).abs().max() < 0.02 * expected.abs().max()


def test_dropout_is_in_the_sum_of_values():
    layer, x = make(dropout=0.5, bias=False), draw(2, 5, 8)
    with torch.no_grad():
        layer.raw_decay.fill_(-60.0)  # no decay, so that values are rotated only
        layer.frequency.zero_()
    torch.manual_seed(0)
    output, weights = layer(x, need_weights=True)
    value = layer.v_proj(x).unflatten(-1, (2, -1)).transpose(1, 2)
    close(output, layer.out_proj((weights @ value).transpose(1, 2).flatten(-2)))


def test_dropout_needs_the_reference():
    layer, x = make(dropout=0.1, implementation="streaming"), draw(1, 5, 8)
    with pytest.raises(ValueError, match="must be 'reference' or 'auto' with `dropout`"):
        layer(x)
    layer.eval()(x)
    assert layer.train()(x, implementation="reference")[0].shape == x.shape


def test_no_keys():
    layer, x = make(dropout=0.1), draw(2, 5, 8)
    found, weights = layer(x, x[:, :0], logit_bias=torch.zeros(5, 0).double(), need_weights=True)
    assert weights.shape == (2, 2, 5, 0)
    close(found, layer.out_proj.bias.expand_as(found))


def test_estimate_of_pairs_takes_a_batch_of_biases():
    layer, bias = make(), draw(3, 2, 4, 4, seed=2)
    x = draw(2, 4, 4)  # heads without a batch
    mask = torch.ones(3, 1, 1, 1, dtype=torch.bool)
    found = pairwise_estimate(x, x, x, layer.layer.sde, logit_bias=bias, mask=mask)
    assert found.mean.shape == (3, 2, 4, 4)
    assert found.precision.shape == (3, 2, 4)
    each = [pairwise_estimate(x, x, x, layer.layer.sde, logit_bias=b).mean for b in bias]
    close(found.mean, torch.stack(each))
