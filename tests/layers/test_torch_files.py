"""Files of PyTorch modules, and files that are written completely or not at all."""

import json
import sys

import pytest

from afa_core.layer import Settings
from afa_core.layer.atomic import write_whole

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")
safetensors = pytest.importorskip("safetensors")
files = pytest.importorskip("afa_torch.files")
layers = pytest.importorskip("afa_torch.layer")


class Model(torch.nn.Module):
    """Two layers, one of them under two names, and a weight that two submodules share."""

    def __init__(self, *, seed=0, words=5, **settings):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(words, 8)
        self.blocks = torch.nn.ModuleList(
            layers.AdaptiveFilterAttention(8, 2, **settings) for _ in range(2)
        )
        self.last = self.blocks[1]
        self.read = torch.nn.Linear(8, words, bias=False)
        self.read.weight = self.embed.weight
        self.register_buffer("columns", torch.arange(6.0).reshape(2, 3).mT)

    def forward(self, words):
        x = self.embed(words)
        for each in (*self.blocks, self.last):
            x = x + each(x)[0]
        return self.read(x)


WORDS = torch.tensor([[0, 3, 1, 4, 2]])
CHOICES = [
    {},
    {"form": "diagonal", "gated": True, "fixed": ("dof",)},
    {"form": "radial_tangential", "normalised": ("query", "value"), "layout": "halves"},
    {"sphere": True, "weighting": "gaussian", "constraint": "absolute", "horizon": 0.5},
]


@pytest.mark.parametrize("settings", CHOICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_layer_is_restored(tmp_path, settings, dtype):
    layer = layers.AdaptiveFilterAttention(8, 2, dtype=dtype, **settings)
    files.save(tmp_path / "layer.safetensors", layer)
    loaded = files.load(str(tmp_path / "layer.safetensors"))
    assert loaded.settings == layer.settings
    state, other = layer.state_dict(), loaded.state_dict()
    assert list(other) == list(state)
    assert all(
        torch.equal(other[name], x) and other[name].dtype == x.dtype for name, x in state.items()
    )
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in layer.named_parameters()]


def test_model_is_restored(tmp_path):
    path, model, other = tmp_path / "model.safetensors", Model(), Model(seed=1, fixed=())
    files.save(path, model)
    files.load_into(path, other)
    assert torch.equal(other(WORDS), model(WORDS))
    assert other.read.weight is other.embed.weight
    assert other.last.frequency.requires_grad
    found, others = files.load_layers(path)
    assert set(found) == {"blocks.0.", "blocks.1.", "last."}
    assert set(others) == {"embed.weight", "read.weight", "columns"}
    x = model.embed(WORDS)
    assert torch.equal(found["last."](x).output, model.last(x)[0])


def test_metadata_of_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    files.save(path, Model())
    with safetensors.safe_open(path, framework="pt") as file:
        described = file.metadata()
    assert described["format"] == "afa-core layers"
    assert described["version"] == "1"
    settings = json.loads(described["layers"])["blocks.0."]
    assert (settings["features"], settings["modes"], settings["form"]) == (8, 2, "isotropic")


def test_other_libraries_read_it(tmp_path):
    numpy = pytest.importorskip("numpy")
    afa_numpy = pytest.importorskip("afa_numpy")
    layer, x = layers.AdaptiveFilterAttention(8, 2, form="diagonal"), torch.randn(2, 5, 8)
    files.save(tmp_path / "layer.safetensors", layer)
    found = afa_numpy.load(tmp_path / "layer.safetensors")(x.numpy()).output
    numpy.testing.assert_allclose(found, layer(x)[0].detach(), rtol=1e-5, atol=1e-6)
    afa_numpy.save(
        tmp_path / "back.safetensors", {"": afa_numpy.load(tmp_path / "layer.safetensors")}
    )
    assert torch.equal(files.load(tmp_path / "back.safetensors")(x)[0], layer(x)[0])


def save(path, module):
    files.save(path, module)
    return path


def test_files_of_other_models(tmp_path):
    path = save(tmp_path / "model.safetensors", Model())
    before = {name: x.clone() for name, x in Model(seed=1).state_dict().items()}
    for model, message in (
        (Model(form="diagonal"), "under 'blocks.0.' must have form='isotropic', as in the file"),
        (Model(words=6), r"'embed.weight' must have the shape \(5, 8\)"),
        (layers.AdaptiveFilterAttention(8, 2), "the file must have a layer under ''"),
        (Model().blocks, "the file must have a layer under '0.'"),
        (torch.nn.Linear(2, 2), "the model must have a layer under 'blocks.0.'"),
    ):
        with pytest.raises(ValueError, match=message):
            files.load_into(path, model)
    larger, smaller = Model(seed=1), Model(seed=1)
    larger.bias = torch.nn.Parameter(torch.zeros(5))
    del smaller.columns
    for model, message in (
        (larger, "the file must have 'bias'"),
        (smaller, "module must have 'columns'"),
    ):
        with pytest.raises(ValueError, match=message):
            files.load_into(path, model)
        state = model.state_dict()
        assert all(torch.equal(x, state[name]) for name, x in before.items() if name in state)
    with pytest.raises(ValueError, match=r"file of one layer.*'blocks.0.', 'blocks.1.', 'last.'"):
        files.load(path)


def rewrite(path, described=None, **changes):
    """Replace metadata and arrays of a file; an array of None is removed."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata, names = file.metadata(), list(file.keys())
        arrays = {name: file.get_tensor(name) for name in names} | changes
    arrays = {name: x for name, x in arrays.items() if x is not None}
    metadata = {**metadata, **(described or {})}
    from safetensors.torch import save_file

    save_file(arrays, path, metadata)
    return path


def test_files_of_another_format(tmp_path):
    layer, path = layers.AdaptiveFilterAttention(8, 2), tmp_path / "layer.safetensors"
    first = layer.settings._asdict()

    def changed(**settings):
        return json.dumps({"": {**first, **settings}})

    for described, changes, message in (
        ({"version": "9"}, {}, "must be of version '1' of 'afa-core layers', got '9'"),
        ({"format": "pt"}, {}, "must be of the format 'afa-core layers', got 'pt'"),
        ({"layers": "{"}, {}, "settings of the layers cannot be read"),
        ({"layers": changed(form="banana")}, {}, "`form` must be one of"),
        ({"layers": "[" * 100_000}, {}, "settings of the layers cannot be read: maximum recursion"),
        ({"layers": json.dumps({"q": first, "": first})}, {}, r"end in a dot.* got 'q'"),
        ({"layers": changed(features=None)}, {}, "`features` must be a positive integer, got None"),
        (
            {"layers": changed(features=10**30)},
            {},
            "`features` must be at most [0-9]+, got 10",
        ),
        (
            {"layers": changed(kv_heads=10**400)},
            {},
            "`kv_heads` must be at most [0-9]+, got 10",
        ),
        ({"layers": changed(horizon=10**400)}, {}, "`horizon` must be a finite number ≥ 0"),
        ({}, {"raw_decay": None}, "`raw_decay` is missing"),
        ({}, {"raw_decay": torch.zeros(3)}, r"`raw_decay` must have shape \(2,\), got \(3,\)"),
        ({}, {"more": torch.zeros(3)}, "`more` is no parameter"),
    ):
        rewrite(save(path, layer), described, **changes)
        with pytest.raises(ValueError, match=message):
            files.load(path)
    complete = save(path, layer).read_bytes()
    for part in (complete[:-50], complete[:20], b"", b"no such file"):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="must be a file of the safetensors format"):
            files.load(path)
    with pytest.raises(FileNotFoundError):
        files.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", ["bool", "int64", "complex64", "float8_e4m3fn"])
def test_dtypes_of_another_kind(tmp_path, name):
    """A cast to the dtype of a module would lose what the file means."""
    layer, path = layers.AdaptiveFilterAttention(8, 2), tmp_path / "layer.safetensors"
    before = layer.raw_decay.detach().clone()
    rewrite(save(path, layer), raw_decay=torch.ones(2).to(getattr(torch, name)))
    for load in (files.load, files.load_layers, lambda path: files.load_into(path, layer)):
        with pytest.raises(ValueError, match=rf"`raw_decay` must be of .* bfloat16, got {name}\."):
            load(path)
    assert torch.equal(layer.raw_decay, before)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = save(tmp_path / "layer.safetensors", layers.AdaptiveFilterAttention(8, 2))
    before = path.read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", write_partially)
    with pytest.raises(OSError, match="no space"):
        files.save(path, Model())
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["layer.safetensors"]


def write_partially(arrays, path, described):
    path.write_bytes(b"half")
    msg = "no space left"
    raise OSError(msg)


def test_the_file_is_renamed_after_it_is_on_disk(tmp_path, monkeypatch):
    path, events = tmp_path / "a.txt", []
    path.write_text("old")
    monkeypatch.setattr("os.fsync", lambda handle: events.append(path.read_text()))
    write_whole(path, lambda partial: partial.write_text("new"))
    # the temporary file before the rename, then the folder
    assert events == (["old", "new"] if sys.platform != "win32" else ["old"])
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_state_that_is_not_a_tensor(tmp_path):
    class Counting(torch.nn.Module):
        def get_extra_state(self):
            return {"steps": 3}

        def set_extra_state(self, state):
            pass

    with pytest.raises(TypeError, match="'_extra_state' must be a tensor to be saved, got dict"):
        files.save(tmp_path / "a.safetensors", Counting())


def _scaled(linear):
    class Scale(torch.nn.Module):
        def forward(self, weight):
            return 2.0 * weight

    torch.nn.utils.parametrize.register_parametrization(linear, "weight", Scale())


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "parametrise",
    [
        torch.nn.utils.weight_norm,
        torch.nn.utils.parametrizations.weight_norm,
        lambda x: prune.l1_unstructured(x, "weight", 0.5),
        _scaled,
    ],
    ids=["weight_norm", "parametrised weight_norm", "prune", "parametrize"],
)
def test_parametrised_projections_are_refused(parametrise, tmp_path):
    """A file without their weights could not be read; the one that was there is kept."""
    model, path = Model(), tmp_path / "model.safetensors"
    files.save(path, model)
    before = path.read_bytes()
    parametrise(model.blocks[0].k_proj)
    with pytest.raises(ValueError, match=r"`module` must have blocks.0.k_proj.weight in its state"):
        files.save(path, model)
    assert path.read_bytes() == before


def test_without_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for call in (
        lambda: files.save(tmp_path / "a", Model()),
        lambda: files.load(tmp_path / "a"),
    ):
        with pytest.raises(ImportError, match=r"pip install 'afa-core\[layers\]'"):
            call()


def test_settings_have_their_types(tmp_path):
    found, _ = files.load_layers(save(tmp_path / "model.safetensors", Model()))
    assert all(isinstance(each.settings, Settings) for each in found.values())
    assert all(isinstance(each.settings.fixed, tuple) for each in found.values())
