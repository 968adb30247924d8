"""The benchmark on a GPU, in processes on a CPU: jobs, answers, rates, targets and the page."""

import json

import pytest

from afa_bench import page, suite
from afa_bench.gpu import peak, run, section
from afa_bench.gpu.jobs import COMPILED, TORCH, jobs
from afa_bench.gpu.targets import TARGETS
from afa_bench.measure import Job
from afa_bench.reports import combine
from afa_bench.results import Run
from afa_bench.setting import Setting

MACHINE = {
    **dict.fromkeys(("processor", "architecture", "system", "python"), "none"),
    **{"cores": 2, "memory_gib": None, "load_before": 0.1, "versions": {}, "threads": ""},
    **{"device": "H200", "peaks": {"bfloat16": 8e14}},
}
SMALL_PEAK = """
import sys
from afa_bench.gpu import peak, worker
peak.SIZE, worker.BUDGET = 16, 0.0
peak.DTYPES = ("float32",)  # NumPy has no other
sys.exit(worker.main())
"""
FAKE = """
import json, sys
request = json.loads(sys.stdin.readline())
print(json.dumps({{"device": "fake", "peaks": {{}}}}), flush=True)
for job in request["jobs"]:
    if job["setting"]["tokens"] == 2:
        {}
    print(json.dumps({{"setting": job["setting"], "candidates": {{}}}}), flush=True)
    if job["setting"]["tokens"] == 3:
        sys.exit(75)
"""


@pytest.fixture
def report():
    """A report without records."""
    return {"version": "0", "quick": False, "machine": {"device": ""}, "records": []}


def test_jobs_can_be_measured_and_are_those_of_the_targets():
    listed = jobs()
    known = [(job.setting, set(job.candidates)) for job in listed]
    for job in listed:
        job.setting.check()
        assert job.memory
    for job in (job for target in TARGETS for job in target.jobs):
        assert any(job.setting == each and names >= set(job.candidates) for each, names in known)
    assert len({target.what for target in TARGETS}) == len(TARGETS)
    assert listed[0].setting == TORCH
    slow = [bool(COMPILED & set(job.candidates)) for job in listed]
    assert slow == sorted(slow)
    assert sum("flex" in job.candidates for job in listed) == 2


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_one_process_answers_all_jobs(host, tiny, monkeypatch, report, library):
    host(library)
    monkeypatch.setattr(run, "WORKER", ("-c", SMALL_PEAK))
    tiny = tiny._replace(library=library, device="cpu", dtype="float32")
    listed = [
        Job(tiny, ("products", "unknown"), memory=True, repeats=2),
        Job(tiny._replace(tokens=5, correlated=True), ("reference", "published"), repeats=1),
    ]
    started = []
    popen = run.subprocess.Popen
    monkeypatch.setattr(
        run.subprocess, "Popen", lambda *given, **named: started.append(1) or popen(*given, **named)
    )
    first, second = run.measure(listed, report)
    assert len(started) == 1
    assert report["machine"]["device"] == "cpu"
    assert report["machine"]["peaks"]["float32"] > 0.0
    assert first["setting"]["tokens"] == tiny.tokens
    assert {name: sorted(found) for name, found in first["candidates"].items()} == {
        **{"afa": ["seconds"], "products": ["seconds"]},  # memory has no counter on a CPU
        "unknown": ["reason"],
    }
    assert first["chosen"]
    assert second["candidates"]["reference"]["seconds"]
    assert "independent keys only" in second["candidates"]["published"]["reason"]


@pytest.mark.parametrize(
    ("fault", "limit", "reason"),
    [
        ("sys.exit(9)", 60.0, "its process ended with status 9"),
        ("import time; time.sleep(60)", 2.0, "took more than 2 s"),
    ],
)
def test_a_job_that_ends_its_process_costs_no_other(
    tiny, monkeypatch, report, fault, limit, reason
):
    monkeypatch.setattr(run, "WORKER", ("-c", FAKE.format(fault)))
    monkeypatch.setattr(run, "LIMIT", limit)
    listed = [Job(tiny._replace(tokens=count)) for count in (1, 2, 3, 4)]
    found = list(run.measure(listed, report))
    assert [each["setting"]["tokens"] for each in found] == [1, 2, 3, 4]
    reasons = [each["candidates"].get("afa", {}).get("reason") for each in found]
    assert reasons == [None, reason, None, None]


def test_a_library_that_never_starts_is_given_up(tiny, monkeypatch, report):
    monkeypatch.setattr(run, "WORKER", ("-c", "raise SystemExit(4)"))
    found = list(run.measure([Job(tiny)] * 3, report))
    assert len(found) == 3
    assert all(each["candidates"]["afa"]["reason"].endswith("status 4") for each in found)


def test_without_a_gpu_the_suite_says_so(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "all_jobs", lambda: [Job(tiny)])
    assert suite.main(["--gpu", "--output", str(tmp_path)]) == 1
    assert "No library has a GPU here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_records_of_a_setting_complete_each_other(tiny):
    records = []
    for found in ({"afa": {"seconds": [1.0]}}, {"afa": {"reason": "no"}, "b": {"reason": "c"}}):
        combine(records, {"setting": tiny._asdict(), "candidates": found})
    assert [each["candidates"] for each in records] == [
        {"afa": {"seconds": [1.0]}, "b": {"reason": "c"}}
    ]


def test_rates_count_the_products_of_visible_pairs():
    setting = Setting(heads=2, tokens=3, modes=5)
    assert peak.operations(setting) == 4 * 2 * 6 * 10
    assert peak.operations(setting._replace(backward=True)) == 3.5 * 4 * 2 * 6 * 10
    found = {"afa": {"seconds": [2.0]}, "sdpa": {"seconds": [1.0]}, "flex": {"reason": "no"}}
    record = {"setting": setting._asdict(), "candidates": found}
    assert peak.rate(record, "afa") == 240.0
    assert peak.share(record, {"float32": 960.0}) == 0.25
    assert peak.share(record, {}) is peak.rate(record, "flex") is None
    record["setting"] |= {"correlated": True}
    assert peak.rate(record, "afa") is None
    assert peak.rate(record, "sdpa") == 480.0


@pytest.fixture
def measured():
    """A run in which ours takes 2 ms, and every baseline 3 ms, but for one that is missing."""
    records = []
    for job in jobs():
        found = {
            name: {"seconds": [2e-3 if name == "afa" else 3e-3], "bytes": 5e6, "method": "device"}
            for name in job.candidates
        }
        if "reference" in found:
            found["reference"] = {"reason": "OutOfMemoryError: too large"}
        combine(records, {"setting": job.setting._asdict(), "candidates": found, "chosen": "fast"})
    return Run("gpu", {"quick": False, "records": records, "machine": MACHINE})


def test_the_page_has_rates_shares_and_targets_of_a_gpu(measured):
    text = page.page([measured])
    assert "## H200" in text
    assert "Prepared, not yet run" not in text
    assert "bfloat16 800 TFLOP/s" in text
    row = (
        "| isotropic student, N=16384, H=8, d=64, bfloat16, forward | afa (fast) | 2.00 ms | 1.5 × "
    )
    assert f"{row}| 275 | 34 % | 5.00 MB |" in text
    assert "|  | *sdpa-flash* | 3.00 ms | 1 × | 183 | 23 % | 5.00 MB |" in text
    assert "not measured: OutOfMemoryError: too large" in text
    rows = [line for line in section.targets(measured).splitlines() if " over " in line]
    assert len(rows) == len(TARGETS)
    assert rows[0].endswith("| ≥ 60 % | 34 % | no |")
    assert rows[1].endswith("| ≥ 0.8 × | 1.5 × | yes |")
    assert rows[-1].endswith("speed over flex | ≥ 1.5 × | 1.5 × | yes |")


def test_figures_of_a_gpu_are_drawn(measured, tmp_path):
    (tmp_path / "gpu.json").write_text(json.dumps(measured.report), encoding="utf-8")
    options = ["--output", str(tmp_path / "page.md"), "--figures", str(tmp_path)]
    assert page.main([str(tmp_path), *options]) == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *("bench-gpu-time.png", "bench-gpu-memory.png")
    }


def test_without_a_run_the_targets_are_pending():
    assert "Prepared, not yet run" in page.page([])
    assert section.pending().count("| ≥ ") == len(TARGETS)
