"""Which library has which feature, in which dtypes, as the reports show it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from afa_conformance.columns import SEVEREST, TableColumn, reason
from afa_conformance.features import FEATURES, Feature, dtype_of
from afa_conformance.loading import GPUS
from afa_conformance.markdown import markdown_table

FOR_TESTS = ("array_api_strict", "meta")
"""The library and the device that nobody computes with."""
TITLES = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "jax": "JAX",
    "cupy": "CuPy",
    "dask.array": "Dask",
    "mlx.core": "MLX",
    "ndonnx": "ONNX",
}
MARKS = {"failed": " (broken)", "expected failure": " (gap)", "passed": ""}
NOTE = """
A dtype is listed where laws of the feature passed in it; "(gap)" where some of them are known to
fail, "(broken)" where one fails. No report has a law of a feature whose cell is empty.{reasons}

Compiled is `jax.jit` or `torch.compile`; mapped is `jax.vmap` or `torch.func.vmap` inside of it;
exported is `torch.export`, StableHLO by `jax.export`, or an ONNX model that ONNX Runtime runs,
written and read again. Kernels of Triton and Pallas are interpreted on a CPU. Forward mode and
second derivatives are in the table of [transforms](transforms.md).
"""

Places = dict[str, list[TableColumn]]
"""Columns by their library and kind of device."""


def places_of(columns: Sequence[TableColumn]) -> Places:
    """Return the columns of each library and device that somebody computes with."""
    places: Places = {}
    for column in columns:
        device = _device(column)
        if column.under_test["backend"] not in FOR_TESTS and device not in FOR_TESTS:
            gpu = ", GPU" if device == "GPU" else ""
            places.setdefault(f"{_library(column)}{gpu}", []).append(column)
    return places


def support(places: Places) -> str:
    """Return the section: a row for each feature, a column for each place."""
    reasons: list[str] = []
    rows: list[tuple[str, ...]] = []
    for heading, features in FEATURES.items():
        rows.append((f"**{heading}**", *[""] * len(places)))
        for feature in features:
            cells = (_cell(feature, listed, reasons) for listed in places.values())
            rows.append((feature.title, *cells))
    why = "".join(f"\n{number}. {each}" for number, each in enumerate(reasons, start=1))
    note = NOTE.format(reasons=f" A number stands for a reason:\n{why}" if why else "")
    return "## What runs where\n\n" + markdown_table(("feature", *places), rows) + note


def _library(column: TableColumn) -> str:
    """Return the name of a library, or of an implementation that is not of this one."""
    backend, name = column.under_test["backend"], column.under_test.get("implementation", "")
    return f"`{name}`" if ":" in name else TITLES.get(backend, backend)


def _device(column: TableColumn) -> str:
    """Return the kind of device."""
    if "device" in column.under_test:
        kind = column.under_test["device"].partition(":")[0]
        return "GPU" if kind in GPUS else kind
    return "GPU"  # whose columns alone cannot always be run


def _cell(feature: Feature, columns: Sequence[TableColumn], reasons: list[str]) -> str:
    """Return the dtypes in which a feature was tested, or the number of the reason why in none.

    A reason that is new is added to the list.
    """
    outcomes: dict[str, set[str]] = {}
    others: Counter[str] = Counter()
    for column in columns:
        if column.report["unavailable"] or not feature.shown_by(column.under_test):
            continue
        for name, case in column.cases():
            if feature.concerns(name):
                outcomes.setdefault(dtype_of(column, name), set()).add(case["outcome"])
                others[reason(case)] += case["outcome"] not in MARKS
    tested = {dtype: _mark(found) for dtype, found in outcomes.items() if found & MARKS.keys()}
    if tested:
        widest = sorted(tested, key=lambda name: (-int(re.sub(r"\D", "", name)), name))
        return ", ".join(name + tested[name] for name in widest)
    if not others:
        return ""
    why = min(others, key=lambda each: (-others[each], each))
    if why not in reasons:
        reasons.append(why)
    return f"– ({reasons.index(why) + 1})"


def _mark(outcomes: set[str]) -> str:
    return MARKS[next(each for each in SEVEREST if each in outcomes)]
