"""Rotary encodings for dot-product attention: tables that are formed before the measurement."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_bench.candidates import Task
from afa_bench.setting import Setting

TITLE = "dot-product attention with rotary encodings"


def tables(task: Task) -> tuple[Any, Any]:
    """Return cosine and sine of ωt, each of shape (m, d), for m keys at times 0 to m − 1."""
    frequency: Any = task.inputs.sde.frequency
    angles = np.arange(task.inputs.key.shape[-2])[:, None] * task.backend.to_numpy(frequency)
    dtype = "float64" if task.setting.dtype == "float64" else "float32"
    device = task.setting.device or None
    cosine, sine = (
        task.backend.from_numpy(function(angles).astype(dtype), device)
        for function in (np.cos, np.sin)
    )
    return cosine, sine


def unsupported(setting: Setting) -> str:
    """Return a reason for every case without a counterpart in dot-product attention."""
    counterpart = setting.case in ("attention", "decode", "window") and not setting.irregular
    return "" if counterpart else "no counterpart"
