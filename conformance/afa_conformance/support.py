"""What every library can do, in a small table, as the reports show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from afa_conformance.columns import TableColumn, outcome
from afa_conformance.loading import GPUS
from afa_conformance.markdown import markdown_table

FOR_TESTS = ("array_api_strict", "meta")
"""The library and the device that nobody computes with."""
GRADIENTS = "weights/test_gradients.py::"
HEAD = ("library", "device", "eager", "compiled", "mapped", "exported", "gradients")
NOTE = """
A dtype is listed where laws passed in it and none is broken; "(gap)" where some are known to fail.
Compiled is `jax.jit` or `torch.compile`; mapped is `jax.vmap` or `torch.func.vmap` inside of it;
exported is `torch.export`, StableHLO by `jax.export`, or an ONNX model that ONNX Runtime runs,
written and read again. Why columns have not been run is said below.
"""


def support(columns: Sequence[TableColumn]) -> str:
    """Return the section: libraries and devices, and in which dtypes they do what."""
    groups: dict[tuple[str, str], list[TableColumn]] = {}
    for column in columns:
        library, device = column.under_test["backend"], _device(column)
        if library not in FOR_TESTS and device not in FOR_TESTS:
            groups.setdefault((library.partition(".")[0], device), []).append(column)
    rows = [(*place, *_cells(group)) for place, group in groups.items()]
    return "## What runs where\n\n" + markdown_table(HEAD, rows) + NOTE


def _device(column: TableColumn) -> str:
    """Return the kind of device."""
    if "device" in column.under_test:
        kind = column.under_test["device"].partition(":")[0]
        return "GPU" if kind in GPUS else kind
    return "GPU"  # whose columns alone cannot always be run


def _cells(group: Sequence[TableColumn]) -> tuple[str, ...]:
    """Return the dtypes of a group that run in each of these ways."""
    if all(each.report["unavailable"] for each in group):
        return ("not yet run",) * len(HEAD[2:])
    run = [each for each in group if not each.report["unavailable"]]
    kinds: tuple[Callable[[TableColumn], bool], ...] = (
        lambda each: each.under_test["mode"] == "eager",
        lambda each: each.under_test["mode"].startswith("compiled"),
        lambda each: each.under_test["mode"].endswith("mapped"),
        lambda each: each.under_test["mode"].startswith("exported"),
        _differentiates,
    )
    return tuple(_dtypes([each for each in run if kind(each)]) for kind in kinds)


def _differentiates(column: TableColumn) -> bool:
    """Whether laws of gradients passed."""
    laws = (name for name in column.report["laws"] if name.startswith(GRADIENTS))
    return any(outcome(column, name) == "passed" for name in laws)


def _dtypes(columns: Sequence[TableColumn]) -> str:
    """Return the dtypes of columns, those with gaps marked; without those with a broken law."""
    marks: dict[str, str] = {}
    for each in columns:
        counts = each.report["counts"]
        if counts["passed"] and not counts["failed"]:
            gap = " (gap)" if counts["expected failure"] else ""
            marks[each.under_test["dtype"]] = max(marks.get(each.under_test["dtype"], ""), gap)
    widest = sorted(marks, key=lambda name: (-int(re.sub(r"\D", "", name)), name))
    return ", ".join(name + marks[name] for name in widest)
