"""The operations that are measured, and their errors against the reference."""

import numpy as np
import pytest

import afa_core as afa
from afa_bench import accuracy, cases
from afa_bench.baselines.select import available, profiling
from afa_bench.cases import CASES
from afa_bench.inputs import draw, transfer
from afa_core.backend import load
from afa_core.model.sde import parameters_of


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("form", ["isotropic", "radial-tangential", "diagonal"])
def test_backward_has_the_gradient_of_every_parameter(task_of, tiny, library, form):
    task = task_of(tiny._replace(library=library, form=form, tokens=6, backward=True))
    output, gradients = CASES["attention"].prepare(task)()
    assert output.shape == task.inputs.cotangent.shape
    tokens = dict(zip(("query", "key", "value"), task.inputs[:3], strict=True))
    arrays = tokens | parameters_of(task.inputs.sde)
    for (label, x), gradient in zip(arrays.items(), gradients, strict=True):
        assert gradient.shape == x.shape, label
        assert np.abs(task.backend.to_numpy(gradient)).max() > 0.0, label


def test_decoding_step_has_one_token_beyond_those_cached(tiny):
    inputs = CASES["decode"].inputs(tiny)
    assert [x.shape[-2] for x in inputs[:4]] == [1, 21, 21, 1]


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_decoding_steps_continue_and_start_again(task_of, tiny, library, monkeypatch):
    monkeypatch.setattr(cases, "STEPS", 2)
    setting = tiny._replace(library=library, case="decode")
    task, inputs = task_of(setting), CASES["decode"].inputs(setting)
    call = CASES["decode"].prepare(task)
    expected = afa.attention(*inputs[:3], inputs.sde, weighting=inputs.weighting)
    found = [task.backend.to_numpy(call()) for _ in range(4)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-10, atol=1e-12)
    assert np.any(found[1] != found[0])  # one more token in the cache
    np.testing.assert_allclose(found[2:], found[:2], rtol=1e-12)


@pytest.mark.parametrize("form", ["isotropic", "radial-tangential", "diagonal"])
def test_accuracy_is_against_the_reference_in_double_precision(tiny, monkeypatch, form):
    monkeypatch.setattr(accuracy, "ROWS", 7)
    setting = tiny._replace(dtype="float32", form=form)
    found = accuracy.errors(setting, draw(setting), load("numpy"), profiling("numpy"))
    assert set(found) == {"output"}
    assert 0.0 < found["output"] < 2e-6
    exact = accuracy.errors(tiny, draw(tiny), load("numpy"), profiling("numpy"))
    assert exact["output"] < 1e-14


@pytest.mark.parametrize(
    "kind",
    [{"form": "radial-tangential"}, {"irregular": True, "batch": 2}, {"correlated": True}],
    ids=lambda kind: next(iter(kind)),
)
def test_accuracy_of_some_rows_has_the_keys_and_times_of_them(host, tiny, monkeypatch, kind):
    for name, value in (("ROWS", 3), ("LONG", 10), ("SAMPLES", 2)):
        monkeypatch.setattr(accuracy, name, value)
    setting = tiny._replace(library="torch", backward=True, tokens=12, **kind)
    found = accuracy.errors(setting, draw(setting), host("torch"), profiling("torch"))
    assert set(found) == {"output", "query"}
    assert max(found.values()) < 1e-12


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_accuracy_of_a_long_sequence_is_that_of_some_rows(host, tiny, monkeypatch, library):
    for name, value in (("ROWS", 3), ("LONG", 10), ("SAMPLES", 2)):
        monkeypatch.setattr(accuracy, name, value)
    assert [accuracy._blocks(n) for n in (4, 20)] == [
        [slice(0, 3), slice(3, 4)],
        [slice(0, 3), slice(9, 12), slice(18, 20)],
    ]
    backward = library != "numpy"
    setting = tiny._replace(library=library, dtype="float32", backward=backward, tokens=12)
    backend, inputs = host(library), draw(setting)
    found = accuracy.errors(setting, inputs, backend, profiling(library))
    assert set(found) == ({"output", "query"} if backward else {"output"})
    assert all(0.0 < error < 1e-5 for error in found.values())


def test_bfloat16_tokens_keep_parameters_in_single_precision(tiny):
    torch = pytest.importorskip("torch")
    setting = tiny._replace(library="torch", dtype="bfloat16")
    inputs = transfer(draw(setting), setting, load("torch"))
    assert {x.dtype for x in inputs[:4]} == {torch.bfloat16}
    assert {x.dtype for x in parameters_of(inputs.sde).values()} == {torch.float32}


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_irregular_times_are_those_of_each_sequence(compute, tiny, library):
    setting = tiny._replace(library=library, batch=2, irregular=True)
    inputs = draw(setting)
    gaps = np.diff(inputs.key_times[:, 0])
    assert inputs.key_times.shape == (2, 1, 20)
    assert np.all(gaps > 0.0)
    assert np.all(gaps[0] != gaps[1])
    given = {"weighting": inputs.weighting, **inputs.times}
    expected = afa.attention(*inputs[:3], inputs.sde, **given)
    found = {name: compute(setting, name) for name in ("afa", "regular")}
    np.testing.assert_allclose(found["afa"], expected, rtol=1e-10, atol=1e-12)
    regular = afa.attention(*inputs[:3], inputs.sde, weighting=inputs.weighting)
    np.testing.assert_allclose(found["regular"], regular, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", ["isotropic", "radial-tangential", "diagonal"])
def test_correlated_keys_have_the_gains(compute, tiny, form):
    setting = tiny._replace(form=form, heads=3, correlated=True)
    inputs = draw(setting)
    decay = inputs.sde.decay
    noise = inputs.sde.radial_noise if form == "radial-tangential" else inputs.sde.noise
    decayed, variance = np.exp(-2.0 * decay), np.ones_like(decay)
    for _ in range(20000):
        predicted = decayed * variance + noise.process * (1.0 - decayed) / (2.0 * decay)
        gain = predicted / (predicted + noise.measurement)
        variance = (1.0 - gain) * predicted
    expected = np.broadcast_to(np.geomspace(1 / 1000, 1 / 4, 3), decay.shape[::-1]).T
    np.testing.assert_allclose(gain, expected, rtol=1e-6)
    exact = afa.attention(
        *inputs[:3], inputs.sde, weighting=inputs.weighting, correlated=True, tolerance=0.0
    )
    np.testing.assert_allclose(compute(setting), exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["afa", "multihead"])
@pytest.mark.parametrize("case", ["layer", "compiled layer"])
def test_a_pass_of_a_layer_is_causal_and_has_all_gradients(task_of, tiny, monkeypatch, case, name):
    torch = pytest.importorskip("torch")
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda layer: compiled.append(layer) or layer)
    setting = tiny._replace(library="torch", case=case, batch=2, backward=True)
    assert CASES[case].unsupported(setting) == ""
    task = task_of(setting)
    entry = CASES[case] if name == "afa" else available(task.backend, setting)[name]
    assert entry.unsupported(setting) == ""
    output, gradients = entry.prepare(task)()
    assert len(compiled) == (case == "compiled layer")
    assert output.shape == gradients[0].shape == (2, 20, 12)
    assert all(x.abs().max() > 0.0 for x in gradients)

    early = task.inputs.cotangent.clone()
    early[..., 10:, :] = 0.0
    task = task._replace(inputs=task.inputs._replace(cotangent=early))
    _, gradients = entry.prepare(task)()
    assert gradients[0][:, :10].abs().max() > 0.0
    assert torch.all(gradients[0][:, 10:] == 0.0)
