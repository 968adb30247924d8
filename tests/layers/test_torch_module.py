"""The layer as a module: states, copies, compilation and mixed precision."""

import copy
import io

import pytest

from afa_core.layer import Settings, Start

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")

FORMS = ("isotropic", "diagonal", "radial_tangential")
ALL = {"gated": True, "normalised": ("query", "key"), "horizon": 0.5, "output": "innovation"}


def make(form="isotropic", *, seed=0, embed_dim=8, **settings):
    torch.manual_seed(seed)
    return layers.AdaptiveFilterAttention(embed_dim, 2, form=form, **settings)


def draw(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(a, b, tolerance=1e-6):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def output_and_gradients(layer, x, **options):
    """Return the output and the gradients of all parameters."""
    output, _ = layer(x, **options)
    return output, torch.autograd.grad(output.float().square().sum(), list(layer.parameters()))


@pytest.mark.parametrize("form", FORMS)
def test_state_is_restored(form):
    layer, other, x = make(form, **ALL), make(form, seed=1, **ALL), draw(2, 5, 8)
    assert not torch.equal(layer(x)[0], other(x)[0])
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x)[0], other(x)[0])


def test_state_of_another_form_is_an_error():
    model = torch.nn.Sequential(make())
    with pytest.raises(RuntimeError, match="in a layer of form 'isotropic'") as raised:
        model.load_state_dict(torch.nn.Sequential(make("diagonal", gated=True)).state_dict())
    assert "`0.raw_decay` must have shape (2,)" in str(raised.value)
    assert 'Unexpected key(s) in state_dict: "0.raw_prior_precision"' in str(raised.value)
    with pytest.raises(RuntimeError, match=r'Missing key.*"raw_prior_precision"'):
        make(gated=True).load_state_dict(make().state_dict())
    found = make(gated=True)
    missing, _ = found.load_state_dict(make().state_dict(), strict=False)
    assert missing == ["raw_prior_precision"]


def test_settings_are_restored():
    layer = make("diagonal", **ALL, fixed=("dof",), weighting="rational", layout="halves")
    settings, parameters = layer.layer
    assert isinstance(settings, Settings)
    other = layers.AdaptiveFilterAttention.from_layer(layer.layer)
    assert other.settings == settings
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in layer.named_parameters()]
    assert [n for n, _ in other.named_buffers()] == ["raw_dof"]
    x = draw(2, 5, 8)
    assert torch.equal(other(x)[0], layer(x)[0])
    with torch.no_grad():
        parameters["query_weight"].zero_()
    assert other.q_proj.weight.any()
    new = layers.AdaptiveFilterAttention.from_settings(settings)
    assert new.settings == settings
    assert layer.extra_repr() == (
        "embed_dim=8, num_heads=2, modes=2, value_modes=2, form='diagonal', "
        "weighting='rational', layout='halves', normalised=('query', 'key'), gated=True, "
        "output='innovation', horizon=0.5, fixed=('dof',)"
    )


def test_module_is_saved_whole():
    layer, x, file = make(**ALL), draw(2, 5, 8), io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x)[0], layer(x)[0])


def test_copies_share_no_parameters():
    layer, x = make(**ALL), draw(2, 5, 8)
    other = copy.deepcopy(layer)
    assert torch.equal(other(x)[0], layer(x)[0])
    with torch.no_grad():
        other.raw_decay += 1.0
    assert not torch.equal(other(x)[0], layer(x)[0])


def test_initialised_after_creation_on_meta():
    layer = make(start=Start(dof=7.0), device="meta")
    layer = layer.to_empty(device="cpu")
    torch.manual_seed(0)
    layer.reset_parameters()
    torch.manual_seed(0)
    assert torch.equal(layer(draw(2, 5, 8))[0], make(start=Start(dof=7.0))(draw(2, 5, 8))[0])


def test_implementations_agree():
    layer, x = make(**ALL), draw(2, 9, 8)
    expected, _ = layer(x, implementation="reference")
    layer.implementation = "streaming"
    for options in ({}, {"tile": 2}):
        found, _ = layer(x, **options)
        close(found, expected, 1e-5)
    with pytest.raises(ValueError, match="`implementation` 'linear' cannot run this problem"):
        layer(x, implementation="linear")


def test_shapes_on_meta():
    layer = make(device="meta", **ALL)
    assert layer(torch.empty(2, 5, 8, device="meta"))[0].shape == (2, 5, 8)


@pytest.mark.parametrize(
    ("form", "parts", "mixed"), [("isotropic", ALL, False), ("diagonal", {}, True)]
)
def test_compiled(torch, form, parts, mixed):  # the fixture: the compiler as in a fresh process
    layer, x = make(form, **parts), draw(2, 5, 8)
    # tracing, derivatives and decompositions, without the minute that a C++ compiler takes
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    options = {"query_times": torch.arange(5.0), "key_mask": torch.arange(5) < 4}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        (output, gradients), (found, compiled_gradients) = (
            output_and_gradients(each, x, **options) for each in (layer, compiled)
        )
    assert found.dtype == (torch.bfloat16 if mixed else torch.float32)
    close(found, output, 0.02 if mixed else 1e-5)
    close(compiled_gradients, gradients, 0.05 if mixed else 1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_mixed_precision(form):
    layer, x = make(form, **ALL), draw(2, 40, 8)
    exact, gradients = output_and_gradients(layer, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, mixed_gradients = output_and_gradients(layer, x)
        cache = layer.empty_cache(x)
        step, _ = layer.step(x[:, :3], cache)
    assert output.dtype == step.output.dtype == torch.bfloat16
    close(output.float(), exact, 0.05)
    close(step.output, output[:, :3], 0.02)
    for a, b in zip(mixed_gradients, gradients, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.05 * b.norm()


def test_filter_is_not_in_mixed_precision():
    layer, x = make(), draw(2, 40, 8)
    with torch.no_grad():
        for name, each in layer.named_parameters():
            if name.endswith(".weight"):  # so that projections in bfloat16 are exact
                each.copy_(torch.randint_like(each, -1, 2))
    x = x.sign()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        precision = layer.estimate(x).precision
    close(precision, layer.estimate(x).precision)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters(dtype):
    wide, x = make(**ALL), draw(2, 20, 8)
    layer = make(**ALL, dtype=dtype)
    assert layer.q_proj.weight.dtype == dtype
    assert layer.raw_decay.dtype == layer.frequency.dtype == torch.float32
    output, found = output_and_gradients(layer, x.to(dtype))
    assert output.dtype == dtype
    assert all(each.isfinite().all() for each in found)
    layer.load_state_dict(wide.state_dict())
    close(layer(x.to(dtype))[0].float(), wide(x)[0], 0.1)
    cast = copy.deepcopy(wide).to(dtype)
    assert cast.q_proj.weight.dtype == dtype
    assert torch.equal(cast.raw_decay, wide.raw_decay)
    assert cast.frequency.dtype == torch.float32
    assert copy.deepcopy(cast).to("meta").to_empty(device="cpu").raw_decay.dtype == torch.float32
    output, _ = cast(x.to(dtype))
    assert output.dtype == dtype
    close(output.float(), wide(x)[0], 0.1)


def test_functional_call():
    layer, other, x = make(), make(seed=1), draw(2, 5, 8)
    state = dict(other.named_parameters())
    found, _ = torch.func.functional_call(layer, state, (x,))
    assert torch.equal(found, other(x)[0])
    stacked, buffers = torch.func.stack_module_state([layer, other])

    def run(parameters, buffers):
        return torch.func.functional_call(layer, (parameters, buffers), (x,))[0]

    both = torch.vmap(run)(stacked, buffers)
    close(both, torch.stack([layer(x)[0], other(x)[0]]))


def test_parametrizations():
    layer, x = make(), draw(2, 5, 8)
    before, _ = layer(x)
    torch.nn.utils.parametrizations.weight_norm(layer.q_proj)
    close(layer(x)[0], before)
    other = make(seed=1)
    torch.nn.utils.parametrizations.weight_norm(other.q_proj)
    other.load_state_dict(layer.state_dict())
    close(other(x)[0], before)


@pytest.mark.parametrize("form", FORMS)
def test_exported_for_all_lengths(form):
    layer, x = make(form, **ALL), draw(3, 6, 8)
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    shapes = {"query": {0: batch, 1: tokens}, "key_mask": {0: batch, 1: tokens}}
    options = {"key_mask": torch.ones(3, 6, dtype=torch.bool)}
    program = torch.export.export(layer, (x,), options, dynamic_shapes=shapes)
    assert not any("afa" in str(node.target) for node in program.graph.nodes)
    for batch, tokens in ((3, 6), (5, 11), (1, 1)):
        x, key_mask = draw(batch, tokens, 8), torch.arange(tokens).expand(batch, -1) < 7
        close(program.module()(x, key_mask=key_mask)[0], layer(x, key_mask=key_mask)[0])


def test_exported_tiles():
    layer, x = make(implementation="streaming"), draw(2, 6, 8)
    program = torch.export.export(layer, (x,))
    assert any("afa.stream" in str(node.target) for node in program.graph.nodes)
    with torch.no_grad():  # the operator alone has no derivative
        close(program.module()(x)[0], layer(x)[0])
