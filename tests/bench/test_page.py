"""The page: rows, targets, warnings, and its agreement with the committed reports."""

import json
import re
from pathlib import Path

import pytest

from afa_bench import captions, crossing, figures, page, ratios
from afa_bench.bounds import time_ratio
from afa_bench.cases import CASES
from afa_bench.cpu import TORCH
from afa_bench.questions import QUESTIONS, Column, Table
from afa_bench.results import Row, Run, rows_of
from afa_bench.targets import TARGETS
from afa_bench.units import bytes_text, digits, seconds_text

DOCS = Path(__file__).parents[2] / "docs"
REPORTS = DOCS / "reports" / "bench"
MACHINE = {
    **dict.fromkeys(("processor", "architecture", "system", "python"), "none"),
    **dict.fromkeys(("device", "threads"), ""),
    **{"cores": 2, "memory_gib": None, "load_before": 0.1, "versions": {}},
}
needs_reports = pytest.mark.skipif(
    not REPORTS.is_dir(), reason="the source distribution has no reports"
)


def test_numbers_have_three_digits():
    assert seconds_text(0.01234) == "12.3 ms"
    assert bytes_text(4.56e7) == "45.6 MB"
    assert [digits(x) for x in (0.0123, 1.352, 12.34, 345.6, 5e-7)] == [
        *("0.012", "1.35", "12.3", "346", "5e-7")
    ]


def test_rows_are_numbers_as_text_beside_our_time():
    ours, theirs = {"seconds": [0.2, 0.2], "bytes": 3e6}, {"seconds": [0.1, 0.1]}
    candidates = {"afa": ours, "sdpa": theirs, "flex": {"reason": "unsupported"}}
    assert rows_of({"candidates": candidates, "chosen": "streaming"}) == [
        Row("afa", "afa (streaming)", time="200 ms", extra="3.00 MB"),
        Row("sdpa", "sdpa", time="100 ms", ratio="2.00", quartiles=("2.00", "2.00")),
        Row("flex", "flex", reason="unsupported"),
    ]


def test_a_target_that_was_not_measured_is_not_met():
    text = page.page([Run("cpu", {"quick": False, "records": [], "machine": MACHINE})])
    assert text.count("not measured: not part of this run") == len(TARGETS)
    assert "yes" not in text


def test_the_load_of_a_machine_is_stated():
    report = {"quick": False, "records": [], "machine": MACHINE | {"load_before": 3.0}}
    assert "load average 3.0 before the run" in page.page([Run("cpu", report)])
    assert "quick run" not in page.page([Run("cpu", report)])
    assert "A quick run of small sizes" in page.page([Run("quick", report | {"quick": True})])


def run_of(*records, name="cpu"):
    """A run of records, each a setting and the values of its candidates."""
    listed = [{"setting": each._asdict(), "candidates": found} for each, found in records]
    return Run(name, {"quick": False, "records": listed, "machine": MACHINE})


def ratio_record(tokens, ours, theirs=1.0, base=TORCH, **changes):
    setting = base._replace(tokens=tokens, **changes)
    return setting, {"afa": {"seconds": [ours]}, "sdpa": {"seconds": [theirs]}}


def test_a_table_has_a_row_for_each_size_and_leaves_out_what_was_not_measured(tiny):
    columns = (Column("forward", tiny, "b"), Column("memory", tiny, kind="memory"))
    run = run_of(
        (tiny._replace(tokens=40), {"afa": {"seconds": [3e-3], "bytes": 5e6}}),
        (tiny, {"afa": {"seconds": [2e-3]}, "b": {"seconds": [1e-3]}}),
        (tiny._replace(weighting="rational", tokens=9), {"afa": {"seconds": [9.0], "bytes": 1}}),
    )
    assert Table("size", columns).markdown(run).splitlines()[2:] == [
        "| N=20, H=2, d=3 | 2.00 ms (2.00 ×) |  |",
        "| N=40, H=2, d=3 |  | 5.00 MB |",
    ]
    assert Table("size", columns).markdown(run_of()) == ""


def test_errors_are_of_the_output_or_the_worst_gradient(tiny):
    run = run_of((tiny, {"afa": {}}))
    run.report["records"][0]["errors"] = {"output": 1e-7, "query": 3e-7, "key": None}
    assert Column("", tiny, kind="output error").cell(run, tiny) == "1e-7"
    assert Column("", tiny, kind="gradient error").cell(run, tiny) == "inf"
    run.report["records"][0]["errors"] = {"output": 1e-7}
    assert Column("", tiny, kind="gradient error").cell(run, tiny) == ""


@needs_reports
def test_every_table_of_a_question_shows_something():
    (run,) = page.read(REPORTS)
    for table in (table for question in QUESTIONS for table in question.tables):
        cells = [line.split(" | ") for line in table.markdown(run).splitlines()[2:]]
        for number, column in enumerate(table.columns, start=1):
            filled = any(row[number].strip(" |") for row in cells)
            assert filled or column.title == "forward and backward", column


def test_the_caption_of_the_ratios_counts_what_is_slower():
    run = run_of(
        *(ratio_record(tokens, ours) for tokens, ours in ((256, 2.0), (1024, 1.1), (4096, 1.2))),
        ratio_record(256, 0.9, threads=1),
        ratio_record(1024, 1.5, backward=True),
        ratio_record(4096, 0.5, correlated=True),
    )
    text = " ".join(captions.ratio(run).split())
    assert "the forward pass takes 1.10 to 1.20 times" in text
    assert "a training step takes 1.50 to 1.50 times" in text
    assert "take 0.900 to 2.00 times as long; 1 of 2 are slower" in text
    assert "0.500 times as long at 4,096 tokens" in text
    assert captions.ratio(run_of()) == captions.time(run_of()) == captions.memory(run_of()) == ""


def test_the_ratios_are_those_of_the_settings_of_a_line(tmp_path):
    run = run_of(ratio_record(16, 3.0), ratio_record(8, 2.0), ratio_record(8, 5.0, heads=3))
    (line,) = (each for each in ratios.LINES if each.base == TORCH)
    assert line.points(run, backward=False) == {8: 2.0, 16: 3.0}
    ratios.draw(run_of(), tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


@needs_reports
def test_the_crossings_are_those_of_the_report():
    report = page.read_crossover(REPORTS)
    rows = [line.strip("| ").split(" | ") for line in crossing.table(report).splitlines()[2:]]
    assert len(rows) * 4 == 2 * len(report["crossings"])
    first = next(row for row in rows if row[:3] == ["PyTorch", "isotropic", "streaming"])
    found = {
        (each["setting"]["heads"], each["setting"]["threads"]): each["streaming"]
        for each in report["crossings"]
        if (each["setting"]["library"], each["setting"]["form"]) == ("torch", "isotropic")
    }
    assert first[3:] == [str(found[key] or "–") for key in ((1, 1), (1, 2), (32, 1), (32, 2))]


def test_a_busy_report_is_beside_that_of_the_same_name(tmp_path, tiny):
    target = time_ratio("ours over theirs", tiny, "theirs", 2.0)

    def report(ours):
        seconds = {"afa": {"seconds": [ours]}, "theirs": {"seconds": [1.0]}}
        record = {"setting": tiny._asdict(), "candidates": seconds}
        return {"quick": False, "busy": 2, "records": [record], "machine": MACHINE}

    for name, content in (("cpu", report(1.5)), ("cpu-busy", report(2.25)), ("other", {"a": 1})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (run,) = page.read(tmp_path)
    assert run.name == "cpu"
    assert page._target(target, run) == (
        *("ours over theirs", "≤ 2 ×", "1.5 ×", "yes", "2.25 ×", "1.5 ×: no"),
    )
    unknown = time_ratio("others", tiny._replace(tokens=3), "theirs", 2.0)
    assert page._target(unknown, run)[2:] == ("not measured: not part of this run", "", "", "")
    assert "beside 2 busy processes" in page.page([run])
    assert page._target(target, run._replace(busy=None))[2:] == ("1.5 ×", "yes")


def test_targets_name_settings_that_can_be_measured():
    assert len({target.what for target in TARGETS}) == len(TARGETS)
    for target in TARGETS:
        assert target.jobs
        for job in target.jobs:
            job.setting.check()
            assert job.setting.case in CASES


@needs_reports
def test_the_page_is_generated_from_the_reports():
    runs, crossover = page.read(REPORTS), page.read_crossover(REPORTS)
    assert page.page(runs, crossover) == (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def test_figures_are_of_the_longest_sweep_that_has_the_value(tiny):
    def record(tokens, threads, **found):
        setting = tiny._replace(tokens=tokens, threads=threads)._asdict()
        return {"setting": setting, "candidates": {"afa": found}}

    timed = [record(tokens, 2, seconds=[1.0]) for tokens in (8, 16)]
    both = record(8, 0, seconds=[1.0], bytes=5.0)
    run = Run("cpu", {"quick": False, "records": [*timed, both], "machine": MACHINE})
    assert figures.sweep(run, figures.seconds) == timed
    assert figures.sweep(run, figures.megabytes) == [both]
    assert figures._title(timed).endswith("causal, 2 threads")


@needs_reports
def test_the_figures_of_the_page_are_there(tmp_path):
    runs = page.read(REPORTS)
    page.main([str(REPORTS), "--output", str(tmp_path / "page.md"), "--figures", str(tmp_path)])
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\(figures/(.*?)\)", text))
    assert named == {path.name for path in tmp_path.glob("*.png")}
    assert {f"bench-{run.name}-ratio.png" for run in runs} <= named
    assert {name for name in named if not (DOCS / "figures" / name).is_file()} == set()
