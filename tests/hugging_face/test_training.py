"""Converted models are trained as others are."""

import pytest

from .models import adaptive, difference, draw, dynamics, make, moved, torch, transformers

NAMES = ("raw_decay", "raw_process", "raw_measurement", "raw_query_noise")


def converted(family="llama", **options):
    return adaptive.convert(make(family), sample=draw(), **options).train()


def loss_of(model, ids=None):
    ids = draw() if ids is None else ids
    return model(ids, labels=ids, use_cache=False).loss


def gradients(model):
    model.zero_grad()
    loss_of(model).backward()
    return [x.grad.clone() for x in model.parameters()]


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_training_lowers_the_loss_and_moves_the_dynamics(family):
    model = converted(family)
    before = [
        {name: x.detach().clone() for name, x in each.named_parameters()}
        for each in dynamics(model)
    ]
    groups = adaptive.parameter_groups(model, lr=3e-3, weight_decay=0.1, lr_scale=3.0)
    optimiser, losses = torch.optim.AdamW(groups), []
    for _ in range(20):
        loss = loss_of(model)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    for each, start in zip(dynamics(model), before, strict=True):
        assert tuple(start) == NAMES
        for name in NAMES[:2]:
            assert (getattr(each, name) - start[name]).abs().min() > 1e-5
        assert torch.isfinite(each.sde.noise.query).all()


def test_fixed_parameters_are_buffers():
    model = converted(fixed=("measurement", "radius"))
    each = dynamics(model)[0]
    assert [name for name, _ in each.named_buffers()] == ["raw_measurement", "raw_radius"]
    assert all(torch.isfinite(x).all() for x in gradients(moved(model)))


def test_radius_has_a_gradient_where_there_is_decay():
    model = moved(converted(fixed=()))
    gradients(model)
    assert dynamics(model)[0].raw_radius.grad.abs().min() > 0.0


def test_weight_decay_is_for_matrices():
    model = converted()
    matrices, vectors, others = adaptive.parameter_groups(
        model, lr=1e-2, weight_decay=0.1, lr_scale=3.0
    )
    assert [group["weight_decay"] for group in (matrices, vectors, others)] == [0.1, 0.0, 0.0]
    assert [group["lr"] for group in (matrices, vectors, others)] == [1e-2, 1e-2, 3e-2]
    assert {x.ndim for x in matrices["params"]} == {2}
    found = {id(x) for each in dynamics(model) for x in each.parameters()}
    assert {id(x) for x in others["params"]} == found
    count = sum(len(group["params"]) for group in (matrices, vectors, others))
    assert count == len(list(model.parameters()))
    model.requires_grad_(False)
    assert adaptive.parameter_groups(model, lr=1.0) == []


def test_activation_checkpoints():
    model = moved(converted())
    expected = gradients(model)
    model.activation_checkpointing_enable()
    for found, each in zip(gradients(model), expected, strict=True):
        assert torch.allclose(found, each, atol=1e-6)


def test_autocast():
    model = moved(converted())
    expected = loss_of(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_of(model)
    found.backward()
    assert abs(found - expected) < 0.02
    assert all(torch.isfinite(x.grad).all() for x in model.parameters())


def test_compilation():
    torch._dynamo.reset()
    model = moved(adaptive.convert(make(num_hidden_layers=1), sample=draw()))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert difference(compiled(draw()).logits, model(draw()).logits) < 1e-5


def test_trainer(tmp_path):
    pytest.importorskip("accelerate")
    model = converted()
    before = dynamics(model)[0].raw_decay.clone()
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        logging_steps=1,
        disable_tqdm=True,
        save_strategy="no",
    )
    optimiser = torch.optim.AdamW(adaptive.parameter_groups(model, lr=1e-2))
    ids = draw(batch=4).repeat(4, 1)
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=[{"input_ids": each, "labels": each} for each in ids],
        optimizers=(optimiser, None),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert (dynamics(model)[0].raw_decay - before).abs().min() > 1e-4
    trainer.save_model(str(tmp_path))
    loaded = adaptive.from_pretrained(tmp_path)
    assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)
