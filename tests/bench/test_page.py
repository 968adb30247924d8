"""The page: rows, targets, warnings, and its agreement with the committed reports."""

import json
from pathlib import Path

import pytest

from afa_bench import figures, page
from afa_bench.bounds import time_ratio
from afa_bench.cases import CASES
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


def test_a_busy_machine_has_a_warning():
    report = {"quick": False, "records": [], "machine": MACHINE}
    assert "was busy" not in page.page([Run("cpu", report)])
    report = report | {"machine": MACHINE | {"load_before": 3.0}}
    assert "a load average of 3.0 on 2 cores" in page.page([Run("cpu", report)])


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
    runs = page.read(REPORTS)
    assert page.page(runs) == (DOCS / "benchmarks.md").read_text(encoding="utf-8")


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
    for run in runs:
        for name in ("time", "memory"):
            figure = f"bench-{run.name}-{name}.png"
            assert (DOCS / "figures" / figure).is_file()
            assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
