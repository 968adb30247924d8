"""Time, memory and the machine; no test depends on how long a call takes."""

import json
import platform
import subprocess
import sys
from functools import partial
from itertools import groupby

import numpy as np
import pytest

from afa_bench import memory, suite, timing
from afa_bench.baselines import products
from afa_bench.baselines.select import profiling
from afa_bench.bounds import time_ratio
from afa_bench.busy import busy
from afa_bench.cases import CASES
from afa_bench.machine import machine
from afa_bench.measure import Job, ask, measure, merge
from afa_bench.worker import answer


def test_the_suite_looks_for_a_gpu_in_every_library(monkeypatch):
    names = {"torch": "", "jax": "H200", "numpy": "", "cupy": "another"}
    numpy = profiling("numpy")
    assert numpy.gpu() == ""
    monkeypatch.setattr(suite, "profiling", lambda name: numpy._replace(gpu=lambda: names[name]))
    assert suite.gpu(list(names)) == "H200"
    assert suite.gpu(["torch", "numpy"]) == ""


def test_the_machine_is_described():
    found = machine("H200")
    assert found["device"] == "H200"
    assert found["processor"]
    assert found["architecture"] == platform.machine()
    assert found["cores"] >= 1
    assert found["memory_gib"] >= 1
    assert found["load_before"] >= 0.0
    assert found["versions"]["numpy"] == np.__version__


def test_peak_is_found_by_its_whole_name(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("VmHWMHuge:\t 1 kB\nVmHWM:\t      24 kB\nVmRSS:\t 2 kB\n", "utf-8")
    monkeypatch.setattr(memory, "STATUS", status)
    assert memory._peak_since_reset() == 24 * 1024


def test_peak_memory_is_that_of_the_call():
    size = 100_000_000
    found = memory.peak(lambda: np.ones(size // 8))
    if found.method != "VmHWM":
        pytest.skip("the peak resident memory cannot be reset here")
    assert 0.95 * size < found.extra < 1.2 * size


def test_a_call_that_needs_too_much_memory_fails_by_itself():
    if memory.peak(lambda: None).method != "VmHWM":
        pytest.skip("memory can be limited on Linux only")
    code = (
        "import numpy as np; from afa_bench.memory import limit_memory; "
        "limit_memory(1e-4); np.ones(10**9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_candidates_alternate(monkeypatch):
    monkeypatch.setattr(timing, "MIN_SAMPLE", 0.0)
    calls = []
    seconds = timing.alternate(
        {"a": partial(calls.append, "a"), "b": partial(calls.append, "b")}, 3
    )
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3}
    assert [name for name, _ in groupby(calls)] == ["a", "b"] * 4  # the first are the estimates


@pytest.mark.parametrize(("shortest", "count"), [(1.0, 4), (0.1, 1)])
def test_the_estimate_is_no_sample(monkeypatch, shortest, count):
    monkeypatch.setattr(timing, "MIN_SAMPLE", shortest)
    loops = []
    monkeypatch.setattr(timing, "_sample", lambda call, count: loops.append(count) or 0.25)
    assert timing.alternate({"a": print}, 2) == {"a": [0.25, 0.25]}
    assert loops == [1, count, count]


def test_candidates_are_compared_round_by_round():
    """On a machine that slows down from round to round, a ratio is the same in all of them."""
    slowness = {"slow": iter([1.0, 1.0, 2.0, 4.0, 8.0]), "fast": iter([1.0, 1.0, 2.0, 4.0, 8.0])}
    seconds = {"slow": 0.5, "fast": 0.001}

    def sample(call, _):
        name = call()
        return seconds[name] * next(slowness[name])

    found = timing.alternate({name: partial(str, name) for name in seconds}, 4, sample=sample)
    assert len(found["slow"]) == len(found["fast"]) == 4
    assert timing.compare(found["slow"], found["fast"])[1:] == pytest.approx((500.0,) * 3)


def test_ratios_are_of_medians_and_of_rounds():
    found = timing.compare([1.0, 2.0, 9.0], [2.0, 2.0, 3.0])
    assert found == (1.0, 0.75, 1.0, 2.0)
    assert timing.compare([3.0], [2.0]) == (1.5, 1.5, 1.5, 1.5)


def test_a_candidate_that_fails_has_a_reason(tiny, monkeypatch):
    monkeypatch.setitem(products.products.__kwdefaults__, "columns", "wide")
    names = ["afa", "products"]
    request = {"task": "time", "setting": tiny._asdict(), "candidates": names, "repeats": 1}
    found = answer(request)["candidates"]
    assert "seconds" in found["afa"]
    assert found["products"]["reason"].startswith("TypeError: ")


def test_a_process_that_takes_too_long_has_a_reason(tiny):
    request = {"task": "memory", "setting": tiny._asdict(), "candidate": "afa"}
    assert ask(request, 0.01) == {"reason": "took more than 0 s"}


@pytest.mark.parametrize("threads", [0, 3])
def test_a_worker_has_the_threads_of_its_setting(tiny, monkeypatch, threads):
    environments = []

    def run(*_, env, **others):
        environments.append(env)
        return subprocess.CompletedProcess((), 0, "{}", "")

    monkeypatch.setattr(subprocess, "run", run)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    for name in names:
        monkeypatch.setenv(name, "7")
    ask({"task": "memory", "setting": tiny._replace(threads=threads)._asdict()}, 1.0)
    assert [environments[0][name] for name in names] == 3 * ["3" if threads else "7"]


class Clock:
    """Seconds that pass only where a call says so."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def sample(self, call, loops):
        """Return the mean seconds of some calls, in the place of `timing._sample`."""
        start = self.now
        for _ in range(loops):
            call()
        return (self.now - start) / loops


@pytest.mark.parametrize("tokens", [5, 5000])
def test_the_first_call_is_not_timed(tiny, monkeypatch, tokens):
    """It compiles; another number of tokens, or another preparation, does not compile it."""
    clock = Clock()
    monkeypatch.setattr(timing, "_sample", clock.sample)

    def prepare(_):
        seconds = iter([100.0])
        return lambda: clock.sleep(next(seconds, 0.5))

    monkeypatch.setitem(CASES, "attention", CASES["attention"]._replace(prepare=prepare))
    setting = tiny._replace(tokens=tokens)._asdict()
    request = {"task": "time", "setting": setting, "candidates": ["afa"], "repeats": 2}
    assert answer(request)["candidates"]["afa"]["seconds"] == [0.5, 0.5]


def test_an_unsupported_case_is_not_run(tiny):
    setting = tiny._replace(case="window", form="diagonal")
    reason = CASES["window"].unsupported(setting)
    assert reason == "only the isotropic form has a window"
    record = measure(Job(setting, accuracy=True), {"afa": reason})
    assert record["candidates"] == {"afa": {"reason": reason}}


def test_jobs_of_one_setting_are_one(tiny):
    jobs = merge([Job(tiny, ("a",)), Job(tiny, ("b", "a"), time=False, memory=True)])
    assert jobs == [Job(tiny, ("a", "b"), memory=True)]
    once = [Job(tiny, repeats=1), Job(tiny, time=False, memory=True)]
    assert merge(once) == merge(once[::-1]) == [Job(tiny, memory=True, repeats=1)]


def test_a_quick_run_has_two_lengths_and_the_whole_suite_the_targets():
    quick = suite.quick_jobs(["torch", "numpy"])
    assert {(job.setting.tokens, job.setting.backward) for job in quick} == {
        *((256, False), (256, True), (1024, False))
    }
    every = {job.setting for job in suite.all_jobs(["torch", "jax", "numpy"])}
    assert every >= {job.setting for target in suite.TARGETS for job in target.jobs}


@pytest.fixture
def suite_of(tmp_path, tiny, monkeypatch):
    """Return a function that runs the suite on two tiny targets, and returns its report."""
    targets = [
        time_ratio(f"tokens {count}", tiny._replace(tokens=count), "products", 1.0)
        for count in (3, 4)
    ]
    monkeypatch.setattr(suite, "TARGETS", targets)

    def measured(job, unsupported):
        assert set(unsupported.values()) == {""}
        return {"setting": job.setting._asdict(), "candidates": {name: {} for name in unsupported}}

    monkeypatch.setattr(suite, "measure", measured)

    def run(*options, name="cpu"):
        assert suite.main([*options, "--output", str(tmp_path)]) == 0
        return json.loads((tmp_path / f"{name}.json").read_text("utf-8"))

    return run


def test_some_targets_replace_their_records_in_an_earlier_report(suite_of, tiny, tmp_path):
    first = suite_of("--only", "tokens [34]")
    tokens = [record["setting"]["tokens"] for record in first["records"]]
    assert tokens == [3, 4]
    for record in first["records"]:  # of a version whose settings had fewer fields
        record["chosen"] = "earlier"
        del record["setting"]["threads"]
    first["machine"]["load_before"] = 1e6
    (tmp_path / "cpu.json").write_text(json.dumps(first), encoding="utf-8")
    second = suite_of("--only", "^tokens 3$")
    assert [record.get("chosen") for record in second["records"]] == [None, "earlier"]
    assert second["machine"]["load_before"] == 1e6
    assert list(second["records"][0]["candidates"]) == ["afa", "products"]


def test_a_pattern_of_no_target_is_an_error(suite_of, capsys):
    with pytest.raises(SystemExit):
        suite_of("--only", "nothing")
    assert "the text of no target has the pattern 'nothing'" in capsys.readouterr().err


def test_a_run_beside_busy_processes_has_a_report_of_its_own(suite_of, tmp_path):
    report = suite_of("--only", "tokens 3", "--busy", "1", name="cpu-busy")
    assert report["busy"] == 1
    assert not (tmp_path / "cpu.json").exists()


def test_busy_processes_end_with_the_run():
    with busy(2) as processes:
        assert [each.poll() for each in processes] == [None, None]
    assert None not in [each.poll() for each in processes]
