"""What the implementation computes: equation (4.1) between tokens at their times, written out."""

import pytest

from .models import adaptive, torch, transformers

BATCH, HEADS, KEY_HEADS, CHANNELS, RADIUS = 2, 4, 2, 6, 8.0
DOUBLE = torch.float64


class Module(torch.nn.Module):
    """An attention module of grouped heads, converted."""

    is_causal = True

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.afa = adaptive.Dynamics(HEADS, KEY_HEADS, dtype=DOUBLE)
        with torch.no_grad():
            for name, x in self.afa.named_parameters():
                x.copy_(0.1 + torch.rand(x.shape, generator=generator))
                x[0] *= -1.0
                if name == "raw_radius":
                    x *= RADIUS


def draw(queries, keys):
    torch.manual_seed(1)
    query = torch.randn(BATCH, HEADS, queries, CHANNELS, dtype=DOUBLE)
    key, value = torch.randn(2, BATCH, KEY_HEADS, keys, CHANNELS, dtype=DOUBLE).unbind()
    return query, key, value


def equation(module, tokens, lags, mask):
    """Return (4.1) for residuals of rotated tokens, with keys extended to the radius."""
    query, key, value = tokens
    x = module.afa.values()
    group = HEADS // KEY_HEADS
    key, value = (each.repeat_interleave(group, 1) for each in (key, value))
    radius = x["radius"].repeat_interleave(group)[:, None]
    added = (radius**2 - key.square().sum(-1)).sqrt()  # (batch, heads, m)
    decay, process, eta2, gamma2, beta, *_ = (each[:, None, None] for each in x.values())
    lag = lags.abs()
    scale = torch.exp(-decay * lag)
    variance = process * -torch.expm1(-2 * decay * lag) / (2 * decay) + eta2 * scale**2 + gamma2
    residual = query[:, :, :, None] - scale[..., None] * key[:, :, None]
    distance = residual.square().sum(-1) + (scale * added[:, :, None]) ** 2
    modes = CHANNELS // 2 + 1
    logits = beta * (-variance.log() - distance / (modes * variance))
    weights = logits.masked_fill(~mask, -torch.inf).softmax(-1)
    return ((weights * scale) @ value).transpose(1, 2)


def attend(module, tokens, mask=None, **options):
    function = transformers.AttentionInterface()["afa"]
    output, weights = function(module, *tokens, mask, dropout=0.0, scaling=1.0, **options)
    assert weights is None
    return output.detach()


def close(found, expected):
    return torch.allclose(found, expected.detach(), atol=1e-10)


def lower(queries, keys):
    """Return which keys the last queries of a sequence attend to."""
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


def places(queries, keys):
    """Return the lags of tokens one apart, the queries being the last."""
    return (torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)).to(DOUBLE)


@pytest.mark.parametrize("implementation", ["reference", "streaming"])
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (1, 7), (1, 1)])
def test_causal(queries, keys, implementation):
    adaptive.register(implementation=implementation)
    module, tokens = Module(), draw(queries, keys)
    expected = equation(module, tokens, places(queries, keys), lower(queries, keys))
    assert close(attend(module, tokens), expected)


def test_positions_are_times():
    module, tokens = Module(), draw(5, 5)
    positions = torch.tensor([[0, 1, 4, 5, 9], [3, 4, 4, 6, 20]])
    lags = (positions[:, :, None] - positions[:, None, :])[:, None].to(DOUBLE)
    expected = equation(module, tokens, lags, lower(5, 5))
    assert close(attend(module, tokens, position_ids=positions), expected)
    assert close(
        attend(module, tokens, lower(5, 5).expand(2, 1, 5, 5), position_ids=positions), expected
    )


def test_an_encoder_attends_to_later_keys():
    module, tokens = Module(), draw(5, 5)
    module.is_causal = False
    expected = equation(module, tokens, places(5, 5), torch.ones(5, 5, dtype=torch.bool))
    assert close(attend(module, tokens), expected)
    assert close(attend(module, tokens, is_causal=False), expected)
    assert not close(attend(module, tokens, is_causal=True), expected)


def test_padding():
    """Padding on the left hides keys, and shifts queries and keys alike."""
    module, tokens = Module(), draw(2, 6)
    visible = torch.arange(6) >= torch.tensor([0, 3])[:, None]
    mask = visible[:, None, None, :] & lower(2, 6)
    expected = equation(module, tokens, places(2, 6), mask)
    positions = (visible.long().cumsum(-1) - 1)[:, -2:]
    assert close(attend(module, tokens, mask, position_ids=positions), expected)


def test_unused_keys_of_a_static_cache():
    """Keys after a query's own token are not yet there."""
    module, tokens = Module(), draw(2, 9)
    mask = torch.arange(9) <= torch.tensor([4, 5])[:, None]
    lags = (torch.tensor([4, 5])[:, None] - torch.arange(9)).to(DOUBLE)
    expected = equation(module, tokens, lags, mask)
    found = attend(module, tokens, mask.expand(2, 1, 2, 9), position_ids=torch.tensor([[4, 5]]))
    assert close(found, expected)


def test_the_first_tokens_of_a_static_cache():
    """Without a mask, several queries and more keys are those of an empty cache."""
    module, (query, key, value) = Module(), draw(4, 9)
    tokens = query, key[:, :, :4], value[:, :, :4]
    expected = equation(module, tokens, places(4, 4), lower(4, 4))
    assert close(attend(module, (query, key, value)), expected)


def test_a_mask_may_show_later_keys():
    """As of a prefix, to which all its tokens attend."""
    module, tokens = Module(), draw(5, 5)
    mask = lower(5, 5) | (torch.arange(5) < 3)
    found = attend(module, tokens, mask.expand(2, 1, 5, 5))
    assert close(found, equation(module, tokens, places(5, 5), mask))


def test_a_mask_of_heads():
    module, tokens = Module(), draw(5, 5)
    mask = lower(5, 5) & (torch.rand(2, HEADS, 5, 5) < 0.6) | torch.eye(5, dtype=torch.bool)
    assert close(attend(module, tokens, mask), equation(module, tokens, places(5, 5), mask))


def test_a_query_without_keys_has_no_output():
    module, tokens = Module(), draw(3, 3)
    mask = lower(3, 3).clone()
    mask[0] = False
    found = attend(module, tokens, mask.expand(2, 1, 3, 3))
    assert found[:, 0].abs().max() == 0.0


def test_long_keys_lose_weight():
    """A key of length ‖k‖ > R has the weight e^{−s(‖k‖² − R²)/2} of its dot product."""
    from afa_torch.transformers.dynamics import Model, Visible, attend

    query, key, value = draw(5, 5)
    radius, scaling = key.norm(dim=-1).amax((0, 2)) * 0.7, 0.4
    noise = radius[:, None] ** 2 / (CHANNELS // 2 + 1)
    model = Model(0.0, 0.0, noise, noise, scaling * radius[:, None] ** 2, radius[:, None])
    found = attend(query, key, value, model, Visible(causal=False))
    longer = (key.square().sum(-1) - radius[:, None] ** 2).clamp_min(0.0)
    key, value, longer = (x.repeat_interleave(2, 1) for x in (key, value, longer))
    logits = scaling * (query @ key.mT - longer[:, :, None] / 2)
    assert (longer > 0).any()
    assert (longer == 0).any()
    assert torch.allclose(found, logits.softmax(-1) @ value, atol=1e-10)
