"""Converted models are saved with the parameters of their attention, and loaded with them."""

import json

import pytest

from .models import FAMILIES, adaptive, difference, draw, dynamics, make, moved, torch, transformers


@pytest.fixture
def saved(tmp_path):
    """Save a model away from the rotary limit, in several files; return it and its folder."""

    def save(family="llama", **options):
        model = moved(adaptive.convert(make(family), sample=draw(), **options))
        model.save_pretrained(tmp_path, max_shard_size="20KB")
        return model, tmp_path

    return save


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip(family, saved):
    model, path = saved(family)
    assert len(list(path.glob("*.safetensors"))) > 1
    loaded = adaptive.from_pretrained(path)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert torch.equal(loaded(draw()).logits, model(draw()).logits)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    loaded.save_pretrained(path / "again")
    again = adaptive.from_pretrained(path / "again")
    assert torch.equal(again(draw()).logits, model(draw()).logits)


def test_options_of_the_hub_reach_the_configuration(saved, monkeypatch):
    model, path = saved()
    loading, given = transformers.AutoConfig.from_pretrained, []

    def spy(*arguments, **options):
        given.append(options)
        return loading(*arguments, **options)

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", spy)
    options = {"subfolder": path.name, "revision": "main", "local_files_only": True}
    loaded = adaptive.from_pretrained(path.parent, **options, dtype=torch.float32)
    assert given[0] == options
    assert torch.equal(loaded(draw()).logits, model(draw()).logits)


def test_fixed_parameters_stay_fixed(saved):
    model, path = saved(fixed=("process",))
    names = [name for name, _ in dynamics(adaptive.from_pretrained(path))[0].named_parameters()]
    assert names == [name for name, _ in dynamics(model)[0].named_parameters()]
    assert "raw_process" not in names
    assert "raw_radius" in names


def test_dynamics_stay_in_single_precision(saved):
    model, path = saved()
    loaded, info = adaptive.from_pretrained(path, dtype=torch.bfloat16, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.lm_head.weight.dtype == torch.bfloat16
    assert dynamics(loaded)[0].raw_decay.dtype == torch.float32
    assert torch.equal(dynamics(loaded)[0].raw_decay, dynamics(model)[0].raw_decay)
    assert difference(loaded(draw()).logits, model(draw()).logits) < 0.1


def test_another_class(saved):
    model, path = saved()
    loaded = adaptive.from_pretrained(path, model_class=transformers.LlamaModel)
    expected = model.model(draw()).last_hidden_state
    assert torch.equal(loaded(draw()).last_hidden_state, expected)


def test_a_model_that_was_not_converted_is_refused(tmp_path):
    make().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="`path` must have a converted model, got"):
        adaptive.from_pretrained(tmp_path)


def test_an_unknown_class_is_refused(saved):
    _, path = saved()
    file = path / "config.json"
    config = json.loads(file.read_text()) | {"architectures": ["Mine"]}
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"`model_class` must be given .*got None and \['Mine'\]"):
        adaptive.from_pretrained(path)


def test_missing_parameters_are_refused(tmp_path):
    model = make()
    model.config.afa = {"fixed": []}
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must have all parameters.*raw_decay"):
        adaptive.from_pretrained(tmp_path)
