"""The drop-in replacement of nn.MultiheadAttention, alone and in the transformers of PyTorch."""

import copy
import math

import pytest

from afa_core.layer import Start, from_rotary

from .torch_layers import FORMS, close, draw

torch = pytest.importorskip("torch")
afa_torch = pytest.importorskip("afa_torch")
nn = torch.nn

FEATURES, HEADS, TOKENS = 16, 2, 7
PADDING = torch.arange(TOKENS) >= torch.tensor([[7], [4], [5]])


def make(seed=0, **options):
    torch.manual_seed(seed)
    options = {"batch_first": True, "dtype": torch.float64, **options}
    return afa_torch.nn.MultiheadAttention(FEATURES, HEADS, **options)


def encoder(batch_first=True, layers=2, **options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        FEATURES, HEADS, 32, dropout=0.0, batch_first=batch_first, dtype=torch.float64
    )
    layer.self_attn = make(batch_first=batch_first, **options)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=batch_first)


@pytest.mark.parametrize(
    ("form", "batch_first"), [*((form, True) for form in FORMS), (FORMS[0], False)]
)
def test_encoder_is_trained_and_evaluated_with_padding(form, batch_first):
    model, x = encoder(batch_first, form=form), draw(3, TOKENS, FEATURES)
    target = x.roll(1, dims=1)

    def run(x):
        tokens = x if batch_first else x.transpose(0, 1)
        y = model(tokens, src_key_padding_mask=PADDING)
        return y if batch_first else y.transpose(0, 1)

    optimiser = torch.optim.AdamW(afa_torch.nn.parameter_groups(model, 3e-3))
    losses = []
    for _ in range(200):
        loss = (run(x) - target)[~PADDING].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[50] > losses[100] > losses[-1]
    assert losses[-1] < 0.1 * losses[0]
    expected = run(x)
    model.eval()
    other = torch.where(PADDING[..., None], 100.0, x)
    for tokens in (x, other):  # the fused kernels are tried without gradients alone
        with torch.no_grad():
            close(run(tokens)[~PADDING], expected[~PADDING], 1e-10)
        close(run(tokens)[~PADDING], expected[~PADDING], 1e-10)


def test_padding_equals_shorter_sequences():
    model, x = encoder().eval(), draw(3, TOKENS, FEATURES)
    with torch.no_grad():
        padded = model(x, src_key_padding_mask=PADDING)
        for k, length in enumerate((7, 4, 5)):
            close(padded[k, :length], model(x[k : k + 1, :length])[0], 1e-10)


def test_the_whole_transformer():
    torch.manual_seed(0)
    model = nn.Transformer(FEATURES, HEADS, 1, 1, 32, batch_first=True, dtype=torch.float64)
    assert afa_torch.nn.replace_attention(model, dropout=0.0) is model
    kinds = [each for each in model.modules() if isinstance(each, nn.MultiheadAttention)]
    assert not kinds
    source, target = draw(3, TOKENS, FEATURES), draw(3, 5, FEATURES, seed=2)
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    masks = {"src_key_padding_mask": PADDING, "memory_key_padding_mask": PADDING}

    def run(source, target):
        return model(source, target, tgt_mask=causal, tgt_is_causal=True, **masks)

    run(source, target).square().sum().backward()
    assert all(each.grad is not None for each in model.parameters())
    model.eval()
    with torch.no_grad():
        found = run(source, target)
        hidden = torch.where(PADDING[..., None], 9.0, source)
        close(run(hidden, target), found, 1e-10)
        later = torch.cat([target[:, :3], -target[:, 3:]], dim=1)
        close(run(source, later)[:, :3], found[:, :3], 1e-10)
        assert (run(source, later)[:, 3:] - found[:, 3:]).abs().max() > 1e-3


def test_replacement_copies_weights_and_options():
    for options in ({}, {"bias": False}, {"kdim": 6, "vdim": 4, "batch_first": True}):
        old = nn.MultiheadAttention(FEATURES, HEADS, dropout=0.1, **options).eval()
        old.out_proj.weight.requires_grad_(False)
        new = afa_torch.nn.replace_attention(old, form="isotropic")
        weights = new.attention.layer.parameters
        if old.in_proj_weight is not None:
            parts = old.in_proj_weight.chunk(3)
        else:
            parts = old.q_proj_weight, old.k_proj_weight, old.v_proj_weight
        for name, x in zip(("query", "key", "value"), parts, strict=True):
            assert torch.equal(weights[f"{name}_weight"], x)
        assert torch.equal(weights["output_weight"], old.out_proj.weight)
        assert ("query_bias" in weights) == (old.in_proj_bias is not None)
        assert not new.out_proj.weight.requires_grad
        assert new.attention.q_proj.weight.requires_grad
        assert (new.dropout, new.batch_first, new.training) == (0.1, old.batch_first, False)
        for name in ("embed_dim", "num_heads", "kdim", "vdim", "head_dim", "_qkv_same_embed_dim"):
            assert getattr(new, name) == getattr(old, name), name


def test_a_shared_module_is_replaced_by_one():
    old = nn.MultiheadAttention(FEATURES, HEADS)
    model = afa_torch.nn.replace_attention(nn.ModuleDict({"a": old, "b": nn.ModuleList([old])}))
    assert model["a"] is model["b"][0]
    assert isinstance(model["a"], afa_torch.nn.MultiheadAttention)


def test_a_module_of_several_names_is_replaced_under_all():
    old, parent = nn.MultiheadAttention(FEATURES, HEADS), nn.Module()
    parent.a = parent.b = old
    for model in (parent, nn.ModuleList([old] * 3)):
        children = list(afa_torch.nn.replace_attention(model)._modules.values())
        assert all(each is children[0] for each in children)
        assert not any(isinstance(each, nn.MultiheadAttention) for each in model.modules())


def test_tied_weights_are_refused():
    """Their copies would be trained apart."""
    pair = nn.ModuleList(nn.MultiheadAttention(FEATURES, HEADS) for _ in range(2))
    pair[1].in_proj_weight = pair[0].in_proj_weight
    model = nn.ModuleDict({"a": nn.MultiheadAttention(FEATURES, HEADS), "b": nn.Linear(16, 16)})
    model["b"].weight = model["a"].out_proj.weight
    for each in (pair, model):
        with pytest.raises(ValueError, match="`module` must have attention whose weights are its"):
            afa_torch.nn.replace_attention(each)
        assert isinstance(next(each.children()), nn.MultiheadAttention)


def test_what_cannot_be_replaced():
    bad = nn.ModuleList([nn.MultiheadAttention(FEATURES, HEADS), nn.MultiheadAttention(6, 2)])
    with pytest.raises(ValueError, match="multiple of 2"):
        afa_torch.nn.replace_attention(bad)
    assert isinstance(bad[0], nn.MultiheadAttention)
    for option in ("add_bias_kv", "add_zero_attn"):
        with pytest.raises(ValueError, match=f"`{option}` must be False, got True"):
            make(**{option: True})
        with pytest.raises(ValueError, match=f"`{option}` must be False, got True"):
            afa_torch.nn.replace_attention(nn.MultiheadAttention(8, 2, **{option: True}))
    with pytest.raises(ValueError, match="`options` must leave `query_weight` of shape"):
        afa_torch.nn.replace_attention(nn.MultiheadAttention(8, 2), modes=5)
    with pytest.raises(TypeError, match="settings must be among"):
        afa_torch.nn.replace_attention(nn.MultiheadAttention(8, 2), forms="diagonal")
    with pytest.raises(ValueError, match=r"must have an nn\.MultiheadAttention, got a Lin"):
        afa_torch.nn.replace_attention(nn.Linear(8, 2))


def test_fused_kernels_are_refused():
    with pytest.raises(TypeError, match="`in_proj_weight` and `in_proj_bias` must not be used"):
        torch.add(make().in_proj_weight, torch.ones(1))
    assert make(bias=False).in_proj_bias is None


def test_state_is_restored(tmp_path):
    model, other = encoder(), encoder()
    for x in other.parameters():
        nn.init.normal_(x)
    x = draw(3, TOKENS, FEATURES)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    pytest.importorskip("safetensors")
    afa_torch.save(tmp_path / "model.safetensors", model)
    fresh = copy.deepcopy(model)
    for each in fresh.parameters():
        nn.init.zeros_(each)
    afa_torch.load_into(tmp_path / "model.safetensors", fresh)
    assert torch.equal(fresh(x), model(x))
    layers, _ = afa_torch.load_layers(tmp_path / "model.safetensors")
    assert set(layers) == {f"layers.{k}.self_attn.attention." for k in range(2)}


def rotary_pair(dtype, layout):
    """Return heads and output of a rotary layer, and the replacement with its weights."""
    torch.manual_seed(0)
    project, output = (nn.Linear(FEATURES, k * FEATURES, dtype=dtype) for k in (3, 1))
    frequency = 10.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    names = ("query", "key", "value")
    weights = {f"{n}_weight": x for n, x in zip(names, project.weight.chunk(3), strict=True)}
    weights |= {f"{n}_bias": x for n, x in zip(names, project.bias.chunk(3), strict=True)}
    weights |= {"output_weight": output.weight, "output_bias": output.bias}
    layer = from_rotary(weights, heads=HEADS, frequency=frequency, layout=layout, radius=6.0)
    module = afa_torch.nn.MultiheadAttention.from_layer(layer, batch_first=True)

    def rotate(x):
        real, imag = x.unflatten(-1, (-1, 2)).unbind(-1)
        if layout == "halves":
            real, imag = x.chunk(2, dim=-1)
        z = torch.complex(real, imag)
        angle = torch.arange(TOKENS, dtype=torch.float64)[:, None] * frequency
        z = z * torch.polar(torch.ones_like(angle), angle).to(z.dtype)
        if layout == "halves":
            return torch.cat([z.real, z.imag], dim=-1)
        return torch.view_as_real(z).flatten(-2)

    def heads(x):
        parts = project(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return rotate(parts[0]), rotate(parts[1]), parts[2]

    return heads, output, module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_rotary_limit_is_scaled_dot_product_attention(dtype, layout):
    heads, output, module = rotary_pair(dtype, layout)
    x = draw(3, TOKENS, FEATURES).to(dtype)
    query, key, value = heads(x)
    additive = draw(3, HEADS, TOKENS, TOKENS, seed=4).to(dtype)
    additive[0, 1, 2, 4] = -torch.inf
    hidden = draw(TOKENS, TOKENS, seed=5) > 0.8
    hidden.fill_diagonal_(False)
    causal = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
    padded = PADDING[:, None, None, :].expand(-1, -1, TOKENS, -1)
    for attn_mask, expected, options in (
        (None, None, {}),
        (hidden, ~hidden, {}),
        (additive.flatten(0, 1), additive, {}),
        (causal, ~causal, {"is_causal": True}),
        (None, ~padded, {"key_padding_mask": PADDING}),
        (
            None,
            torch.zeros(padded.shape, dtype=dtype).masked_fill(padded, -torch.inf),
            {
                "key_padding_mask": torch.zeros(3, TOKENS, dtype=dtype).masked_fill(
                    PADDING, -torch.inf
                )
            },
        ),
        (
            None,
            draw(3, TOKENS, seed=6).to(dtype)[:, None, None, :].expand(-1, -1, TOKENS, -1),
            {"key_padding_mask": draw(3, TOKENS, seed=6).to(dtype)},
        ),
        (
            additive.flatten(0, 1),
            additive + draw(3, TOKENS, seed=6).to(dtype)[:, None, None, :],
            {"key_padding_mask": draw(3, TOKENS, seed=6).to(dtype)},
        ),
        (
            additive.flatten(0, 1),
            additive.masked_fill(padded, -torch.inf),
            {"key_padding_mask": PADDING},
        ),
    ):
        attended = nn.functional.scaled_dot_product_attention(query, key, value, expected)
        reference = output(attended.transpose(1, 2).flatten(-2))
        found, weights = module(x, x, x, attn_mask=attn_mask, **options)
        assert (found - reference).abs().max() < 1e-5 * reference.abs().max()
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        if expected is not None:
            bias = torch.zeros_like(scores)
            if expected.dtype == torch.bool:
                scores = bias.masked_fill(~expected, -torch.inf) + scores
            else:
                scores = expected + scores
        close(weights, scores.softmax(-1).mean(1), 1e-5)


def test_conventions_are_those_of_pytorch():
    """Shapes of tokens, masks and weights are the same as those of nn.MultiheadAttention."""
    x, memory = draw(5, 3, FEATURES), draw(TOKENS, 3, FEATURES, seed=2)
    for batch_first in (True, False):
        new = make(batch_first=batch_first)
        old = nn.MultiheadAttention(FEATURES, HEADS, batch_first=batch_first, dtype=torch.float64)
        batched = (x.transpose(0, 1), memory.transpose(0, 1)) if batch_first else (x, memory)
        for query, key in (batched, (x[:, 0], memory[:, 0])):
            count, padding = (3 * HEADS, PADDING) if query.ndim == 3 else (HEADS, PADDING[0])
            for masks in (
                {},
                {"attn_mask": torch.zeros(5, TOKENS).bool()},
                {"attn_mask": draw(count, 5, TOKENS)},
                {"average_attn_weights": False, "key_padding_mask": padding},
                {"need_weights": False},
            ):
                expected, found = old(query, key, key, **masks), new(query, key, key, **masks)
                for a, b in zip(expected, found, strict=True):
                    assert (a is None) == (b is None)
                    assert a is None or a.shape == b.shape


def test_order_of_axes():
    first, second = make(), make(batch_first=False)
    x, memory = draw(3, 5, FEATURES), draw(3, TOKENS, FEATURES, seed=2)
    for key, value in ((x, x), (memory, memory), (memory, 2.0 * memory)):
        expected, _ = first(x, key, value)
        found, _ = second(*(each.transpose(0, 1) for each in (x, key, value)))
        close(found.transpose(0, 1), expected)


def test_masks_of_zero_and_infinity_need_no_reference():
    model = make(implementation="streaming")
    x = draw(3, TOKENS, FEATURES)
    hidden = torch.ones(TOKENS, TOKENS).triu(1).bool()
    floating = torch.zeros(TOKENS, TOKENS).masked_fill(hidden, -torch.inf)
    close(model(x, x, x, attn_mask=floating)[0], model(x, x, x, attn_mask=hidden)[0])
    with pytest.raises(ValueError, match="'reference' or 'auto' with `logit_bias`"):
        model(x, x, x, attn_mask=floating + 1.0)


def test_floating_masks_whose_values_cannot_be_read():
    model, x = make(), draw(2, TOKENS, FEATURES)
    mask = draw(3, TOKENS, TOKENS)
    mapped = torch.func.vmap(lambda mask: model(x, x, x, attn_mask=mask)[0])(mask)
    for found, each in zip(mapped, mask, strict=True):
        close(found, model(x, x, x, attn_mask=each)[0])
    meta, tokens = make(device="meta"), x.to("meta")
    assert meta(tokens, tokens, tokens, attn_mask=mask[0].to("meta"))[0].shape == x.shape


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_averaged_over_heads(form):
    model, x = make(form=form), draw(3, TOKENS, FEATURES)
    _, each = model(x, x, x, average_attn_weights=False)
    _, mean = model(x, x, x)
    pairs = zip(each, mean, strict=True) if form == FORMS[2] else [(each, mean)]
    for of_heads, found in pairs:
        close(found, of_heads.mean(1))
    _, none = model(x, x, x, need_weights=False)
    assert none is None


def test_queries_that_see_no_key():
    model, x = make(), draw(3, TOKENS, FEATURES)
    output, weights = model(x, x, x, key_padding_mask=torch.ones(3, TOKENS).bool())
    assert not weights.any()
    close(output, model.out_proj.bias.expand_as(output))


def test_times():
    model, x = make(), draw(3, TOKENS, FEATURES)
    times = torch.cumsum(draw(3, TOKENS, seed=3).abs(), dim=-1)
    found, _ = model(x, x, x, query_times=times)
    close(found, model.attention(x, query_times=times, causal=False)[0])
    with pytest.raises(ValueError, match=r"`query_times` must have shape \(..., 7\)"):
        model(x, x, x, query_times=times[:, :3])


def test_correlated_keys():
    model, x = make(correlated=True), draw(3, TOKENS, FEATURES)
    causal = torch.ones(TOKENS, TOKENS).triu(1).bool()
    output, _ = model(x, x, x, attn_mask=causal, is_causal=True, key_padding_mask=PADDING)
    close(output[~PADDING], model.attention(x, key_mask=~PADDING)[0][~PADDING])
    with pytest.raises(ValueError, match="with `correlated`, since a filter has one set"):
        model(x, x, x, attn_mask=causal)


BAD = [
    ({"attn_mask": torch.zeros(7, 7).long()}, TypeError, r"`attn_mask` must be a boolean \(True"),
    ({"attn_mask": [1]}, TypeError, "`attn_mask` must be a boolean .* got list"),
    ({"attn_mask": torch.zeros(3, 7, 7)}, ValueError, r"must have shape \(7, 7\) or \(6, 7, 7\)"),
    ({"key_padding_mask": torch.zeros(3, 6)}, ValueError, r"must have shape \(3, 7\), got"),
    ({"attn_masks": None}, TypeError, "unexpected keyword argument 'attn_masks'"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_masks(arguments, error, message):
    x = draw(3, TOKENS, FEATURES)
    with pytest.raises(error, match=message):
        make()(x, x, x, **arguments)


REFUSED = [
    ("key", (7, 16), (3, 7, 16), (7, 16)),
    ("value", (7, 16), (7, 16), (3, 7, 16)),
    ("key", (3, 7, 16), (7, 16), (7, 16)),
    ("query", (2, 3, 7, 16), (2, 3, 7, 16), (2, 3, 7, 16)),
    ("query", (16,), (7, 16), (7, 16)),
    ("key", (7, 16), (16,), (16,)),
    ("key", (1, 7, 16), (3, 7, 16), (3, 7, 16)),
    ("key", (3, 7, 16), (1, 7, 16), (1, 7, 16)),
    ("value", (3, 7, 16), (3, 7, 16), (2, 7, 16)),
    ("value", (7, 16), (7, 16), (6, 16)),
]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("name", "query", "key", "value"), REFUSED)
def test_what_pytorch_refuses_is_refused(name, query, key, value, batch_first):
    """With the name of the argument; PyTorch raises one of several errors."""
    shapes, options = (query, key, value), {"batch_first": batch_first, "dtype": torch.float64}
    tokens = [draw(*shape) for shape in shapes]
    if not batch_first:
        tokens = [x.transpose(0, 1) if x.ndim == 3 else x for x in tokens]
    with pytest.raises((AssertionError, IndexError, RuntimeError, ValueError)):
        nn.MultiheadAttention(FEATURES, HEADS, **options)(*tokens)
    with pytest.raises(ValueError, match=f"^`{name}` must have"):
        make(batch_first=batch_first)(*tokens)


@pytest.mark.parametrize("index", range(3))
def test_tokens_are_tensors(index):
    tokens = [draw(3, TOKENS, FEATURES) for _ in range(3)]
    tokens[index] = tokens[index].tolist()
    name = ("query", "key", "value")[index]
    for batch_first in (True, False):
        with pytest.raises(TypeError, match=f"`{name}` must be a torch.Tensor, got list"):
            make(batch_first=batch_first)(*tokens)


def test_causality_of_other_lengths():
    model, x = make(), draw(3, TOKENS, FEATURES)
    with pytest.raises(ValueError, match="`attn_mask` must be given with `is_causal` for 5 quer"):
        model(x[:, :5], x, x, is_causal=True)
    mask = torch.ones(5, TOKENS).triu(1).bool()
    found, _ = model(x[:, :5], x, x, is_causal=True, attn_mask=mask)
    close(found, model(x[:, :5], x, x, attn_mask=mask)[0])


def test_nested_tokens():
    x = torch.nested.nested_tensor(
        [torch.zeros(3, FEATURES), torch.zeros(5, FEATURES)], layout=torch.jagged
    )
    with pytest.raises(TypeError, match=r"ested ?Tensor. Pad it"):
        make(dtype=torch.float32)(x, x, x)


def test_dropout_is_off_in_evaluation():
    model, x = make(dropout=0.5), draw(3, TOKENS, FEATURES)
    assert not torch.equal(model(x, x, x)[0], model(x, x, x)[0])
    model.eval()
    assert torch.equal(model(x, x, x)[0], model(x, x, x)[0])
    close(model(x, x, x)[0], make()(x, x, x)[0])


def test_assigned_attributes_are_those_of_the_layer():
    model, x = make(), draw(3, TOKENS, FEATURES)
    names, before = list(model.state_dict()), model(x, x, x)[0]
    model.out_proj = nn.Linear(FEATURES, FEATURES, dtype=torch.float64)
    with torch.no_grad():
        model.out_proj.weight.copy_(-model.attention.out_proj.weight)
    assert model.out_proj is model.attention.out_proj
    assert list(model.state_dict()) == names
    assert not torch.allclose(model(x, x, x)[0], before)
    model.dropout = 1.0
    assert model.dropout == model.attention.dropout == 1.0
    output, weights = model(x, x, x)
    assert not weights.any()
    close(output, model.out_proj.bias.expand_as(output))


def test_settings_of_the_layer():
    model = make(form="diagonal", num_kv_heads=1, start=Start(dof=7.0))
    assert model.attention.settings.kv_heads == 1
    assert "batch_first=True" in repr(model)
    assert "num_kv_heads=1" in repr(model)


def test_compiled(torch):  # the fixture: the compiler as in a fresh process
    model, x = encoder(layers=1).eval(), draw(3, TOKENS, FEATURES)
    compiled = torch.compile(model.layers[0], fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for options in ({}, {"src_key_padding_mask": PADDING}):
            close(compiled(x, **options), model.layers[0](x, **options), 1e-10)
