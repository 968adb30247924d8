"""The part of the page on a GPU: targets, and all values with their rates."""

from __future__ import annotations

from itertools import groupby
from statistics import median

from afa_bench.bounds import times
from afa_bench.cases import AFA
from afa_bench.gpu.peak import BACKWARD, SIZE, rate, share
from afa_bench.gpu.targets import TARGETS
from afa_bench.records import Record
from afa_bench.results import Run, medians
from afa_bench.setting import from_json
from afa_bench.tables import dropdown, markdown_table, target_row
from afa_bench.units import bytes_text, digits, percent, seconds_text

PENDING = """\
## On a GPU

Prepared, not yet run: `python -m afa_bench.suite --gpu --output docs/reports/bench`, in minutes.
"""

VALUES = f"""\
One process per library measures all settings. A sample is a row of calls of at least 20 ms, of
which the last is waited for. Peak extra memory is by the counters of the library. The rate counts
the two matrix products of causal attention, $4 \\cdot N (N + 1) / 2 \\cdot H \\cdot 2 d$ operations
forward and {BACKWARD} times as many forward and backward, as is usual; with correlated keys, far
ones of which are left out, only the baselines have one. The share is that of the rate of a product
of two {SIZE} × {SIZE} matrices of the same dtype, in PyTorch: {{peaks}}. The speed is the time of
the baseline in italics over that of the candidate: flash attention where it takes the dtype.
"""

HEAD = ("setting", "candidate", "median time", "speed", "TFLOP/s", "share", "peak extra memory")
BASES = ("sdpa-flash", "sdpa", "dot_product_attention-cudnn", "dot_product_attention")
"""What a speed refers to: the first of these that was measured."""


def pending() -> str:
    """Return the targets of a run that there is not yet, without numbers."""
    rows = ((target.what, target.goal) for target in TARGETS)
    return dropdown("Targets on a GPU", markdown_table(("what", "target"), rows))


def targets(run: Run) -> str:
    """Return the table of targets."""
    rows = [target_row(target, run) for target in TARGETS]
    table = markdown_table(("what", "target", "measured", "met"), rows)
    return dropdown(f"Targets on {run.report['machine']['device']}", table)


def values(run: Run) -> str:
    """Return all values, a table per library."""
    peaks = run.report["machine"].get("peaks", {})
    listed = (f"{dtype} {_tera(found)} TFLOP/s" for dtype, found in peaks.items())
    parts = [VALUES.format(peaks=", ".join(listed) or "not measured")]
    for library, records in groupby(sorted(run.report["records"], key=_library), key=_library):
        rows = [row for record in records for row in _rows(record, peaks)]
        parts.append(dropdown(library, markdown_table(HEAD, rows)))
    return "\n".join(parts)


def _library(record: Record) -> str:
    return str(record["setting"]["library"])


def _rows(record: Record, peaks: dict[str, float]) -> list[tuple[str, ...]]:
    setting = from_json(record["setting"])
    described = setting.describe().removeprefix(f"{setting.library} ")
    known = medians(record)
    base = next((name for name in BASES if name in known), "")
    rows: list[tuple[str, ...]] = []
    for name, found in record["candidates"].items():
        chosen = record.get("chosen") if name == AFA else ""
        label = f"{name} ({chosen})" if chosen else f"*{name}*" if name == base else name
        first = described if name == AFA else ""
        if "seconds" not in found:
            rows.append((first, label, f"not measured: {found.get('reason', '')}", *4 * ("",)))
            continue
        seconds = median(found["seconds"])
        speed = times(known[base] / seconds) if base else ""
        reached, part = rate(record, name), share(record, peaks, name)
        memory = bytes_text(found["bytes"]) if "bytes" in found else ""
        rates = (_tera(reached) if reached else "", percent(part) if part else "")
        rows.append((first, label, seconds_text(seconds), speed, *rates, memory))
    return rows


def _tera(rate: float) -> str:
    return digits(1e-12 * rate)
