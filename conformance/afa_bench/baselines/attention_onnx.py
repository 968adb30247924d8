"""A layer of dot-product attention as an ONNX model."""

from __future__ import annotations

from afa_bench.candidates import Baseline, Call, Task
from afa_bench.setting import ONNX_LAYER, Setting


def _prepare(task: Task) -> Call:
    # Imported here: ndonnx and ONNX Runtime may not be installed.
    from afa_bench.libraries.onnx_layers import dot_product_attention

    return dot_product_attention(task)


def _unsupported(setting: Setting) -> str:
    return "" if setting.case == ONNX_LAYER else "is an ONNX model of a layer only"


MODEL = Baseline(
    "attention-onnx",
    "an ONNX model of a layer of rotary dot-product attention",
    _unsupported,
    _prepare,
)
