"""The layer as a module: states, copies, compilers, mixed precision, many processes, bad input."""

import copy
import subprocess
import sys

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


def slopes(layer, x, **options):
    """The output and the gradients of all parameters."""
    output, _ = layer(x, **options)
    return output, torch.autograd.grad(output.float().square().sum(), list(layer.parameters()))


@pytest.mark.parametrize("form", FORMS)
def test_state_goes_round(form):
    layer, other, x = make(form, **ALL), make(form, seed=1, **ALL), draw(2, 5, 8)
    assert not torch.equal(layer(x)[0], other(x)[0])
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x)[0], other(x)[0])


def test_state_of_another_form_is_refused():
    model = torch.nn.Sequential(make())
    with pytest.raises(RuntimeError, match="in a layer of form 'isotropic'") as told:
        model.load_state_dict(torch.nn.Sequential(make("diagonal", gated=True)).state_dict())
    assert "`0.raw_decay` must have shape (2,)" in str(told.value)
    assert 'Unexpected key(s) in state_dict: "0.raw_prior_precision"' in str(told.value)
    with pytest.raises(RuntimeError, match=r'Missing key.*"raw_prior_precision"'):
        make(gated=True).load_state_dict(make().state_dict())
    found = make(gated=True)
    missing, _ = found.load_state_dict(make().state_dict(), strict=False)
    assert missing == ["raw_prior_precision"]


def test_settings_go_round():
    layer = make("diagonal", **ALL, fixed=("dof",), weighting="rational", layout="halves")
    settings, parameters = layer.layer
    assert isinstance(settings, Settings)
    again = layers.AdaptiveFilterAttention.from_layer(layer.layer)
    assert again.settings == settings
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in layer.named_parameters()]
    assert [n for n, _ in again.named_buffers()] == ["raw_dof"]
    x = draw(2, 5, 8)
    assert torch.equal(again(x)[0], layer(x)[0])
    with torch.no_grad():
        parameters["query_weight"].zero_()
    assert again.query_weight.any()
    new = layers.AdaptiveFilterAttention.from_settings(settings)
    assert new.settings == settings
    assert repr(layer) == (
        "AdaptiveFilterAttention(8, 2, modes=2, value_modes=2, form='diagonal', "
        "weighting='rational', layout='halves', normalised=('query', 'key'), gated=True, "
        "output='innovation', horizon=0.5, fixed=('dof',))"
    )


def test_copies_are_apart():
    layer, x = make(**ALL), draw(2, 5, 8)
    other = copy.deepcopy(layer)
    assert torch.equal(other(x)[0], layer(x)[0])
    with torch.no_grad():
        other.raw_decay += 1.0
    assert not torch.equal(other(x)[0], layer(x)[0])


def test_made_on_meta_then_drawn():
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
        (output, own), (found, others) = (slopes(each, x, **options) for each in (layer, compiled))
    assert found.dtype == (torch.bfloat16 if mixed else torch.float32)
    close(found, output, 0.02 if mixed else 1e-5)
    close(others, own, 0.05 if mixed else 1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_mixed_precision(form):
    layer, x = make(form, **ALL), draw(2, 40, 8)
    exact, slope = slopes(layer, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, mixed = slopes(layer, x)
        cache = layer.empty_cache(x)
        step, _ = layer.step(x[:, :3], cache)
    assert output.dtype == step.output.dtype == torch.bfloat16
    close(output.float(), exact, 0.05)
    close(step.output, output[:, :3], 0.02)
    for a, b in zip(mixed, slope, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.05 * b.norm()


def test_filter_is_not_narrowed_by_mixed_precision():
    layer, x = make(), draw(2, 40, 8)
    with torch.no_grad():
        for name, each in layer.named_parameters():
            if name.endswith("_weight"):  # so that narrow projections are exact
                each.copy_(torch.randint_like(each, -1, 2))
    x = x.sign()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        precision = layer.estimate(x).precision
    close(precision, layer.estimate(x).precision)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters(dtype):
    wide, x = make(**ALL), draw(2, 20, 8)
    layer = make(**ALL, dtype=dtype)
    assert layer.query_weight.dtype == dtype
    assert layer.raw_decay.dtype == layer.frequency.dtype == torch.float32
    output, found = slopes(layer, x.to(dtype))
    assert output.dtype == dtype
    assert all(each.isfinite().all() for each in found)
    layer.load_state_dict(wide.state_dict())
    close(layer(x.to(dtype))[0].float(), wide(x)[0], 0.1)
    output, _ = copy.deepcopy(wide).to(dtype)(x.to(dtype))  # all of it narrow
    assert output.dtype == dtype
    close(output.float(), wide(x)[0], 0.2)


def test_called_with_other_parameters():
    layer, other, x = make(), make(seed=1), draw(2, 5, 8)
    state = dict(other.named_parameters())
    found, _ = torch.func.functional_call(layer, state, (x,))
    assert torch.equal(found, other(x)[0])
    stacked, buffers = torch.func.stack_module_state([layer, other])

    def run(parameters, buffers):
        return torch.func.functional_call(layer, (parameters, buffers), (x,))[0]

    both = torch.vmap(run)(stacked, buffers)
    close(both, torch.stack([layer(x)[0], other(x)[0]]))


def test_parametrised():
    layer, x = make(), draw(2, 5, 8)
    before, _ = layer(x)
    torch.nn.utils.parametrizations.weight_norm(layer, "query_weight")
    close(layer(x)[0], before)
    other = make(seed=1)
    torch.nn.utils.parametrizations.weight_norm(other, "query_weight")
    other.load_state_dict(layer.state_dict())
    close(other(x)[0], before)


ONE_OF_TWO = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
rank, folder = int(sys.argv[1]), sys.argv[2]
meeting = f"file://{folder}/meeting"
torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
layer = torch.load(f"{folder}/layer.pt", weights_only=False)
x = torch.load(f"{folder}/x.pt")[rank]
both = DistributedDataParallel(layer)
both(x)[0].square().sum().backward()
if rank == 0:
    torch.save([p.grad for p in layer.parameters()], f"{folder}/found.pt")
torch.distributed.destroy_process_group()
"""


def test_two_processes_average_gradients(tmp_path):
    layer, x = make(**ALL), draw(2, 3, 6, 8)
    torch.save(layer, tmp_path / "layer.pt")
    torch.save(x, tmp_path / "x.pt")
    command = [sys.executable, "-c", ONE_OF_TWO]
    workers = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for each in workers:
        _, said = each.communicate(timeout=120)
        assert each.returncode == 0, said
    found = torch.load(tmp_path / "found.pt")
    one, other = (slopes(layer, each)[1] for each in x)
    for a, b, c in zip(found, one, other, strict=True):
        close(a, (b + c) / 2.0)


@pytest.mark.parametrize("form", FORMS)
def test_exported_for_all_lengths(form):
    layer, x = make(form, **ALL), draw(3, 6, 8)
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    shapes = {"query": {0: batch, 1: tokens}, "key_mask": {0: batch, 1: tokens}}
    given = {"key_mask": torch.ones(3, 6, dtype=torch.bool)}
    program = torch.export.export(layer, (x,), given, dynamic_shapes=shapes)
    assert not any("afa" in str(node.target) for node in program.graph.nodes)
    for batch, tokens in ((3, 6), (5, 11), (1, 1)):
        x, seen = draw(batch, tokens, 8), torch.arange(tokens).expand(batch, -1) < 7
        close(program.module()(x, key_mask=seen)[0], layer(x, key_mask=seen)[0])


def test_exported_tiles():
    layer, x = make(implementation="streaming"), draw(2, 6, 8)
    program = torch.export.export(layer, (x,))
    assert any("afa.stream" in str(node.target) for node in program.graph.nodes)
    with torch.no_grad():  # the operator by itself has no derivative
        close(program.module()(x)[0], layer(x)[0])


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
    ({"forms": "diagonal"}, TypeError, "settings must be among `form`.*got `forms`"),
    ({"dropout": 0.1}, TypeError, "`dropout` is an argument of nn.MultiheadAttention"),
    ({"batch_first": True}, TypeError, r"tokens are \(batch, tokens, features\)"),
]


@pytest.mark.parametrize(("settings", "error", "message"), BAD_SETTINGS)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        layers.AdaptiveFilterAttention(**{"embed_dim": 8, "num_heads": 2} | settings)


def ones(*shape):
    return torch.ones(*shape, dtype=torch.bool)


BAD_TOKENS = [
    ({"query": torch.zeros(2, 5, 6)}, ValueError, r"`query` must have shape \(..., tokens, 8\)"),
    ({"query": torch.zeros(8)}, ValueError, r"`query` must have shape \(..., tokens, 8\)"),
    ({"query": [[0.0] * 8]}, TypeError, "`query` must be a torch.Tensor, got list"),
    ({"query": torch.zeros(2, 5, 8).long()}, TypeError, "`query` must have a floating dtype"),
    ({"query": torch.zeros(2, 5, 8).double()}, TypeError, "`query` must have dtype float32"),
    ({"key": torch.zeros(2, 5, 6)}, ValueError, r"`key` must have shape \(..., tokens, 8\)"),
    ({"value": torch.zeros(2, 4, 8)}, ValueError, "to match the tokens of `key`"),
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


@pytest.mark.parametrize(("given", "error", "message"), BAD_TOKENS)
def test_bad_tokens(given, error, message):
    with pytest.raises(error, match=message):
        make()(**{"query": torch.zeros(2, 5, 8)} | given)


def test_bad_steps():
    layer, x = make(), draw(2, 5, 8)
    cache = layer.empty_cache(x)
    with pytest.raises(ValueError, match=r"`tokens` must have shape \(..., tokens, 8\)"):
        layer.step(x[0, 0], cache)
    with pytest.raises(ValueError, match=r"`time` must have shape \(..., 2\)"):
        layer.step(x[:, :2], cache, time=torch.zeros(2, 3))
    with pytest.raises(TypeError, match="`cache` must be of type DecodeCache"):
        layer.step(x, None)


def test_bad_parameters():
    settings, parameters = make().layer
    made = layers.AdaptiveFilterAttention.from_settings
    arrays = {name: x.detach().numpy() for name, x in parameters.items()}
    with pytest.raises(TypeError, match=r"`query_weight` must be a torch.Tensor, got ndarray"):
        made(settings, arrays)
    with pytest.raises(ValueError, match=r"`raw_decay` must have shape \(2, 2\), got \(2,\)"):
        made(settings._replace(form="diagonal"), parameters)
    with pytest.raises(ValueError, match="`other` is no parameter of a layer of form 'isotropic'"):
        made(settings, parameters | {"other": parameters["raw_decay"]})
