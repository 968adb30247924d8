"""Projections as modules: names of parameters, adapters, quantisers, and groups of parameters."""

import pytest

from .torch_layers import FORMS, close, draw, make

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")
afa_torch = pytest.importorskip("afa_torch")

PROJECTIONS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}


def earlier(state):
    """Return a state with the names of projections in files and in earlier versions."""
    found = {}
    for name, x in state.items():
        for module, projection in PROJECTIONS.items():
            name = name.replace(f"{module}.", f"{projection}_")
        found[name] = x
    return found


@pytest.mark.parametrize("form", FORMS)
def test_names_of_a_state(form):
    layer = make(form)
    projections = [f"{module}.{part}" for module in PROJECTIONS for part in ("weight", "bias")]
    assert [n for n in layer.state_dict() if "." in n] == projections
    assert set(earlier(layer.state_dict())) == set(layer.layer.parameters)


@pytest.mark.parametrize("form", FORMS)
def test_states_of_earlier_versions(form):
    model = torch.nn.ModuleList([make(form), make(form, seed=1)])
    state = earlier(model.state_dict())
    assert "1.query_weight" in state
    other = torch.nn.ModuleList([make(form, seed=2), make(form, seed=3)])
    other.load_state_dict(state)
    x = draw(2, 5, 8)
    for a, b in zip(model, other, strict=True):
        assert torch.equal(a(x)[0], b(x)[0])
    del state["1.value_bias"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"1.v_proj.bias"'):
        other.load_state_dict(state)
    state["1.value_bias"] = torch.zeros(5)
    with pytest.raises(RuntimeError, match=r"`1.v_proj.bias` must have shape \(8,\)"):
        other.load_state_dict(state)


def test_files_have_one_set_of_names(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    afa_numpy = pytest.importorskip("afa_numpy")
    layer, path, x = make(num_kv_heads=1), tmp_path / "layer.safetensors", draw(2, 5, 8)
    afa_torch.save(path, layer)
    assert set(safetensors.load_file(path)) == set(layer.layer.parameters)
    found = afa_numpy.load(path)
    close(torch.as_tensor(found(x.numpy()).output), layer(x)[0].detach())
    afa_numpy.save(path, {"": found})
    assert torch.equal(afa_torch.load(path)(x)[0], layer(x)[0])
    other = make(num_kv_heads=1, seed=4)
    afa_torch.load_into(path, other)
    assert torch.equal(other(x)[0], layer(x)[0])


class Adapter(torch.nn.Module):
    """A projection with an update of low rank, as adapters have it."""

    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = torch.nn.Linear(base.in_features, 1, bias=False, dtype=base.weight.dtype)
        self.up = torch.nn.Linear(1, base.out_features, bias=False, dtype=base.weight.dtype)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


@pytest.mark.parametrize("form", FORMS)
def test_adapters_are_called(form, tmp_path):
    layer, x = make(form), draw(2, 5, 8)
    merged = make(form)
    for name in PROJECTIONS:
        adapter = Adapter(getattr(layer, name))
        setattr(layer, name, adapter)
        with torch.no_grad():
            getattr(merged, name).weight += adapter.up.weight @ adapter.down.weight
    found, expected = layer(x)[0], merged(x)[0]
    close(found, expected)
    found.square().sum().backward()
    assert all(getattr(layer, name).down.weight.grad.any() for name in PROJECTIONS)
    step, _ = layer.step(x, layer.empty_cache(x))
    close(step.output, expected, 1e-10)
    for use in (lambda: layer.layer, lambda: afa_torch.save(tmp_path / "a", layer)):
        pytest.importorskip("safetensors")
        with pytest.raises(TypeError, match=r"`q_proj` must be an nn.Linear .*Adapter. Merge"):
            use()


def test_peft():
    peft = pytest.importorskip("peft")
    model = torch.nn.Sequential(make(dtype=torch.float32))
    x = draw(2, 5, 8, dtype=torch.float32)
    before = model[0](x)[0]
    config = peft.LoraConfig(r=2, target_modules=list(PROJECTIONS), init_lora_weights=False)
    adapted = peft.get_peft_model(model, config)
    layer = adapted.base_model.model[0]
    assert type(layer.q_proj).__name__ == type(layer.out_proj).__name__ == "Linear"
    assert not isinstance(layer.q_proj, torch.nn.Linear)
    found = layer(x)[0]
    assert not torch.allclose(found, before, atol=1e-3)
    found.sum().backward()
    trained = {name for name, each in layer.named_parameters() if each.grad is not None}
    assert trained == {name for name, _ in layer.named_parameters() if "lora_" in name}
    close(adapted.merge_and_unload()[0](x)[0], found, 1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_projections():
    layer = make(embed_dim=64, dtype=torch.float32).eval()
    x = draw(2, 5, 64, dtype=torch.float32)
    quantised = torch.ao.quantization.quantize_dynamic(layer, {torch.nn.Linear}, torch.qint8)
    for name in PROJECTIONS:
        assert type(getattr(quantised, name)).__module__.startswith("torch.ao.nn.quantized")
    expected = layer(x)[0]
    found = quantised(x)[0]
    assert 0.0 < (found - expected).abs().max() < 0.1 * expected.abs().max()
    step, _ = quantised.step(x, quantised.empty_cache(x))
    close(step.output, found, 0.02)
    with pytest.raises(TypeError, match="take the layer before it is quantised"):
        _ = quantised.layer


def test_adapters_under_autocast():
    layer, x = make(dtype=torch.float32), draw(2, 5, 8, dtype=torch.float32)
    expected, _ = layer(x)
    layer.q_proj = Adapter(layer.q_proj)
    torch.nn.init.zeros_(layer.q_proj.up.weight)
    seen = []
    layer.q_proj.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = layer(x)
    assert seen == [torch.bfloat16]
    assert found.dtype == torch.bfloat16
    close(found.float(), expected, 0.05)


@pytest.mark.parametrize("form", FORMS)
def test_weight_decay_leaves_the_dynamics(form):
    layer = make(form, gated=True, normalised=("key",), fixed=("dof",))
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), layer)
    groups = afa_torch.nn.parameter_groups(model, 1e-2, weight_decay=0.1, lr_scale=0.5)
    rates = [(each["lr"], each["weight_decay"]) for each in groups]
    assert rates == [(1e-2, 0.1), (1e-2, 0.0), (5e-3, 0.0)]
    every = [id(x) for group in groups for x in group["params"]]
    assert sorted(every) == sorted(id(x) for x in model.parameters())
    own = {name for name, x in layer.named_parameters() if "." not in name}
    assert {"raw_decay", "raw_process", "frequency", "key_gain"} <= own
    before = {name: x.clone() for name, x in layer.named_parameters()}
    optimiser = torch.optim.AdamW(groups)
    for x in model.parameters():
        x.grad = torch.zeros_like(x)
    for _ in range(500):
        optimiser.step()
    for name, x in layer.named_parameters():
        assert torch.equal(x, before[name]) == (name in own or x.ndim < 2), name


def test_groups_of_a_layer():
    layer = make(dtype=torch.float32)
    matrices, vectors, own = layer.parameter_groups(1e-3)
    assert [len(each["params"]) for each in (matrices, vectors)] == [4, 4]
    assert [each["weight_decay"] for each in (matrices, vectors, own)] == [0.01, 0.0, 0.0]
    assert {id(x) for x in own["params"]} == {id(x) for x in layer.parameters(recurse=False)}
    assert (
        len(
            make(
                fixed=tuple(
                    name.removeprefix("raw_")
                    for name in layer.layer.parameters
                    if "_weight" not in name
                )
            ).parameter_groups(1e-3)
        )
        == 1
    )
    with pytest.raises(ValueError, match=r"`lr_scale` must be a finite number ≥ 0, got -1.0"):
        layer.parameter_groups(1e-3, lr_scale=-1.0)


def test_grouped_heads_in_jax(tmp_path):
    pytest.importorskip("safetensors")
    pytest.importorskip("equinox")
    jax = pytest.importorskip("jax")
    afa_jax = pytest.importorskip("afa_jax")
    from afa_jax.equinox_layer import AdaptiveFilterAttention

    layer, path = make(num_kv_heads=1, dtype=torch.float32), tmp_path / "layer.safetensors"
    afa_torch.save(path, layer)
    module, x = AdaptiveFilterAttention.from_layer(afa_jax.load(path)), draw(2, 5, 8).float()
    found, _ = module(jax.numpy.asarray(x.numpy()))
    close(torch.as_tensor(found.tolist()), layer(x)[0].detach(), 1e-5)
    single = {"dtype": jax.numpy.float32}
    other = AdaptiveFilterAttention(8, 2, num_kv_heads=1, key=jax.random.key(0), **single)
    afa_jax.save(path, {"": other.layer})
    loaded = afa_torch.load(path)
    assert loaded.settings == layer.settings
    expected, _ = other(jax.numpy.asarray(x.numpy()))
    close(loaded(x)[0].detach(), torch.as_tensor(expected.tolist()), 1e-5)
