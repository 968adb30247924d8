"""Rotary encodings for the rivals that are dot-product attention: tables formed beforehand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from afa_bench.candidates import Task
from afa_bench.setting import Setting

TITLE = "dot-product attention with rotary encodings"


def tables(task: Task) -> tuple[Any, Any]:
    """Return cosine and sine of ωt, (m, d) each, the m keys at times 0, 1, 2 and so on."""
    np = import_module("numpy")
    frequency: Any = task.inputs.sde.frequency
    angles = np.arange(task.inputs.key.shape[-2])[:, None] * task.backend.to_numpy(frequency)
    wide = "float64" if task.setting.dtype == "float64" else "float32"
    device = task.setting.device or None
    cosine, sine = (
        task.backend.from_numpy(each(angles).astype(wide), device) for each in (np.cos, np.sin)
    )
    return cosine, sine


def refusal(setting: Setting) -> str:
    """Refuse what is no attention over a sequence and no step of decoding."""
    return "" if setting.case in ("attention", "decode", "window") else "no counterpart"
