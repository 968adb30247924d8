"""Baselines compute what their names say."""

import numpy as np
import pytest

import afa_core as afa
from afa_bench.baselines import attention_step, products, published, rotary
from afa_bench.baselines.select import available
from afa_bench.cases import CASES
from afa_bench.inputs import draw
from afa_bench.setting import WEIGHTINGS
from afa_core.backend import load


def rotary_softmax(inputs):
    """Causal dot-product attention with rotary encodings, in complex numbers."""
    queries, (tokens, width) = inputs.query.shape[-2], inputs.key.shape[-2:]
    rotation = np.exp(1j * np.arange(tokens)[:, None] * inputs.sde.frequency)
    q = (inputs.query[..., ::2] + 1j * inputs.query[..., 1::2]) * rotation[-queries:]
    k = (inputs.key[..., ::2] + 1j * inputs.key[..., 1::2]) * rotation
    logits = (q.conj() @ np.swapaxes(k, -1, -2)).real / np.sqrt(width)
    visible = np.tri(queries, tokens, tokens - queries, dtype=bool)
    weight = np.where(visible, np.exp(logits), 0.0)
    return weight / weight.sum(-1, keepdims=True) @ inputs.value


@pytest.mark.parametrize("name", ["published", "published-folded"])
@pytest.mark.parametrize(
    ("library", "weighting"),
    [("torch", "student"), ("jax", "student"), *(("numpy", each) for each in WEIGHTINGS)],
)
def test_published_algorithm_equals_the_reference(compute, tiny, library, weighting, name):
    setting = tiny._replace(library=library, weighting=weighting)
    expected = compute(setting, "reference")
    np.testing.assert_allclose(compute(setting, name), expected, rtol=1e-10, atol=1e-12)


def test_published_covariance_switches_at_a_fixed_decay(tiny):
    inputs = draw(tiny._replace(decay=(1e-6, 1e-6)))
    no_decay = inputs.sde._replace(decay=np.zeros(2))
    tokens = (inputs.query, inputs.key, inputs.value)
    found = published.published(*tokens, no_decay, inputs.weighting)
    exact = afa.attention(*tokens, no_decay, weighting=inputs.weighting)
    np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", ["attention", "decode"])
@pytest.mark.parametrize(("library", "name"), [("torch", "sdpa"), ("jax", "dot_product_attention")])
def test_dot_product_attention_is_softmax_with_rotary_encodings(task_of, tiny, library, name, case):
    setting = tiny._replace(library=library, case=case)
    task = task_of(setting)
    baseline = available(task.backend, setting)[name]
    assert baseline.unsupported(setting) == ""
    found = task.backend.to_numpy(baseline.prepare(task)())
    found = np.swapaxes(found, 1, 2) if library == "jax" else found  # heads after tokens
    expected = rotary_softmax(CASES[case].inputs(setting))
    # JAX computes the softmax in single precision, whatever the dtype.
    tolerance = 1e-6 if library == "jax" else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("weighting", ["student", "rational", "gaussian"])
def test_flex_is_the_isotropic_form_by_two_calls(task_of, tiny, weighting):
    torch = pytest.importorskip("torch")
    from torch.nn.attention.flex_attention import flex_attention

    from afa_bench.libraries import torch_flex

    task = task_of(tiny._replace(library="torch", weighting=weighting, modes=10))
    inputs, rotation = task.inputs, torch.complex(*rotary.tables(task))
    model = {"sde": inputs.sde, "weighting": inputs.weighting}
    calls = []

    def eager(query, key, value, score, *, block_mask):
        calls.append(value.shape[-1])
        return torch_flex.with_normaliser(flex_attention)(
            query, key, value, score, block_mask=block_mask
        )

    mask = torch_flex.causal_mask(task.setting.tokens, "cpu")
    found = torch_flex.flex(*inputs[:3], rotation, **model, flex_attention=eager, block_mask=mask)
    expected = afa.attention(*inputs[:3], **model, implementation="reference")
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert calls == [torch_flex.NARROW, 20]


def test_kernels_of_dot_product_attention_take_half_precision_on_gpus(tiny):
    pytest.importorskip("torch")
    known = available(load("torch"), tiny._replace(library="torch"))
    half = tiny._replace(library="torch", dtype="bfloat16", device="cuda:0")
    for name in ("sdpa-flash", "sdpa-cudnn"):
        assert known[name].unsupported(half) == ""
        assert known[name].unsupported(half._replace(device="")) == "is a kernel for GPUs"
        reason = known[name].unsupported(half._replace(dtype="float32"))
        assert reason == "takes half precision only"


def test_flash_attention_is_dot_product_attention(task_of, tiny):
    task = task_of(tiny._replace(library="torch"))
    known = available(task.backend, task.setting)
    # PyTorch has a kernel of that name for CPUs too.
    found, expected = (known[name].prepare(task)() for name in ("sdpa-flash", "sdpa"))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backward", [False, True])
def test_the_compiled_reference_is_the_reference(task_of, tiny, monkeypatch, backward):
    torch = pytest.importorskip("torch")
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda run, dynamic: compiled.append(dynamic) or run)
    task = task_of(tiny._replace(library="torch", tokens=6, backward=backward))
    known = available(task.backend, task.setting)
    found, expected = (known[name].prepare(task)() for name in ("reference-compiled", "reference"))
    assert compiled == [False]
    pairs = zip(found[1], expected[1], strict=True) if backward else [(found, expected)]
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_products_are_the_causal_tiles_and_nothing_else(compute, tiny, monkeypatch, library):
    monkeypatch.setattr(products, "TILE", 8)
    monkeypatch.setattr(products.products, "__kwdefaults__", {"columns": 8})
    setting = tiny._replace(library=library)
    inputs = draw(setting)
    tile = np.arange(20) // 8
    scores = inputs.query @ np.swapaxes(inputs.key, -1, -2)
    # All pairs in a tile at or below the diagonal count, also in the last, which is 4 wide.
    expected = np.where(tile[:, None] >= tile, scores, 0.0) @ inputs.value
    np.testing.assert_allclose(compute(setting, "products"), expected, rtol=1e-10, atol=1e-12)


def test_isotropic_baseline_has_the_tangential_noise(compute, tiny):
    setting = tiny._replace(form="radial-tangential")
    inputs = draw(setting)
    same = afa.IsotropicSDE(inputs.sde.decay, inputs.sde.frequency, inputs.sde.tangential_noise)
    expected = afa.attention(*inputs[:3], same, weighting=inputs.weighting)
    np.testing.assert_allclose(compute(setting, "isotropic"), expected, rtol=1e-12)


def test_isotropic_baseline_has_the_means_over_modes(compute, tiny):
    setting = tiny._replace(form="diagonal")
    inputs = draw(setting)
    decay, *noise = (x.mean(axis=-1) for x in (inputs.sde.decay, *inputs.sde.noise))
    same = afa.IsotropicSDE(decay, inputs.sde.frequency, afa.Noise(*noise))
    expected = afa.attention(*inputs[:3], same, weighting=inputs.weighting)
    np.testing.assert_allclose(compute(setting, "isotropic"), expected, rtol=1e-12)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_step_written_by_hand_is_that_of_the_equations(task_of, tiny, weighting):
    setting = tiny._replace(case="decode", weighting=weighting)
    task, inputs = task_of(setting), CASES["decode"].inputs(setting)
    baseline = available(task.backend, setting)["step"]
    assert baseline.unsupported(setting) == ""
    call = baseline.prepare(task)
    expected = afa.attention(*inputs[:3], inputs.sde, weighting=inputs.weighting)
    for _ in range(2):
        np.testing.assert_allclose(call(), expected, rtol=1e-10, atol=1e-12)


def test_baselines_of_usual_keys_refuse_others(tiny):
    torch = tiny._replace(library="torch", correlated=True)
    known = available(load("torch"), torch)
    for name in ("flex", "published"):
        assert "independent keys only" in known[name].unsupported(torch)
    assert known["sdpa"].unsupported(torch) == ""
    assert known["sdpa"].unsupported(torch._replace(irregular=True)) == "no counterpart"
    for case in ("decode", "window"):
        assert "independent keys only" in CASES[case].unsupported(torch._replace(case=case))


def test_step_of_a_layer_is_dot_product_attention():
    rng = np.random.default_rng(0)
    weights, (key, value) = rng.standard_normal((4, 12, 12)), rng.standard_normal((2, 3, 5, 4))
    frequency, token = np.asarray([1.0, 0.1]), rng.standard_normal((1, 12))
    layer = attention_step.Layer(weights, key.copy(), value.copy(), frequency)
    found = attention_step.step(layer, token, 4)
    q, k, v = ((token @ w).reshape(3, 1, 4) for w in weights[:3])
    phase = np.exp(4j * frequency)
    rotated = [phase * (x[..., :2] + 1j * x[..., 2:]) for x in (q, k)]
    query, own = (np.concatenate([x.real, x.imag], axis=-1) for x in rotated)
    given = query, np.concatenate([key[:, :4], own], axis=1), np.concatenate([value[:, :4], v], 1)
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, given))
    np.testing.assert_allclose(found, expected.numpy().reshape(1, 12) @ weights[3])
