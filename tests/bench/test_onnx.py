"""The ONNX models that are measured compute what their names say."""

import numpy as np
import pytest

from afa_bench.baselines.select import available
from afa_bench.cases import CASES
from afa_bench.layers import drawn_layer, layer_tokens
from afa_bench.setting import LAYER_STEP, ONNX_LAYER

pytest.importorskip("ndonnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("irregular", [False, True])
def test_model_of_a_layer(task_of, tiny, irregular):
    setting = tiny._replace(
        library="numpy", case=ONNX_LAYER, dtype="float32", irregular=irregular, threads=1
    )
    task = task_of(setting)
    times = task.inputs.query_times
    layer, x = drawn_layer(setting), layer_tokens(task)
    expected = layer(x, query_times=None if times is None else times[:, 0]).output
    found = CASES[ONNX_LAYER].prepare(task)()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_model_of_rotary_attention(task_of, tiny):
    setting = tiny._replace(library="numpy", case=ONNX_LAYER, dtype="float32", threads=1)
    task = task_of(setting)
    found = available(task.backend, setting)["attention-onnx"].prepare(task)()
    x, weights = layer_tokens(task), drawn_layer(setting).parameters

    def heads(name):
        y = (x @ weights[f"{name}_weight"].T).reshape(*x.shape[:2], setting.heads, -1)
        return np.swapaxes(y, 1, 2)

    n, modes = setting.tokens, setting.modes
    phase = np.exp(1j * np.arange(n)[:, None] * task.inputs.sde.frequency)
    q, k = ((y[..., :modes] + 1j * y[..., modes:]) * phase for y in map(heads, ("query", "key")))
    logits = (q @ np.swapaxes(k, -1, -2).conj()).real / np.sqrt(2 * modes)
    weight = np.where(np.tri(n, dtype=bool), np.exp(logits), 0.0)
    mean = weight / weight.sum(-1, keepdims=True) @ heads("value")
    expected = np.swapaxes(mean, 1, 2).reshape(x.shape) @ weights["output_weight"].T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [LAYER_STEP, ONNX_LAYER])
@pytest.mark.parametrize(
    "other", [{"form": "diagonal"}, {"weighting": "gaussian"}, {"library": "torch"}]
)
def test_other_layers_are_not_measured_under_the_name(tiny, case, other):
    setting = tiny._replace(library="numpy", case=case)
    assert not CASES[case].unsupported(setting)
    assert CASES[case].unsupported(setting._replace(**other))
