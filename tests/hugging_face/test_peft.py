"""Adapters of PEFT on the projections of converted models, with and without their dynamics."""

import pytest

from .models import adaptive, difference, draw, dynamics, make, torch

peft = pytest.importorskip("peft")


PROJECTIONS = {"llama": ["q_proj", "v_proj"], "gpt_neox": ["query_key_value"]}


def adapted(family="llama", **options):
    model = adaptive.convert(make(family), sample=draw())
    options = {"target_modules": PROJECTIONS[family], "r": 4, **options}
    return peft.get_peft_model(model, peft.LoraConfig(**options)).train()


def train(model, steps=10):
    optimiser, losses = torch.optim.AdamW(adaptive.parameter_groups(model, lr=1e-2)), []
    for _ in range(steps):
        loss = model(input_ids=draw(), labels=draw(), use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=draw()).logits


@pytest.mark.parametrize("family", PROJECTIONS)
def test_projections(family):
    model = adapted(family)
    before = [each.raw_decay.clone() for each in dynamics(model)]
    trained = train(model)
    for each, start in zip(dynamics(trained), before, strict=True):
        assert torch.equal(each.raw_decay, start)


def test_dynamics_are_trained_and_saved(tmp_path):
    model = train(adapted(modules_to_save=["afa"]))
    found = [each for each in dynamics(model) if each.raw_decay.requires_grad]
    assert len(found) == 2
    assert min(each.values()["decay"].max() for each in found) > 1e-4
    model.save_pretrained(tmp_path)
    other = adaptive.convert(make(), radius=9.0)
    loaded = peft.PeftModel.from_pretrained(other, tmp_path).eval()
    assert difference(logits(loaded), logits(model)) < 1e-6
    merged = model.merge_and_unload()
    assert difference(logits(merged), logits(loaded)) < 1e-5
    assert len(dynamics(merged)) == 2
