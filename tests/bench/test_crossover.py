"""The comparison of implementations by length; no test depends on how long a call takes."""

import json

import pytest

from afa_bench import crossover, timing, worker
from afa_bench.setting import FORMS


def record(tiny, tokens, chosen="streaming", **seconds):
    """A record of one round of each implementation."""
    setting = tiny._replace(tokens=tokens, threads=1)._asdict()
    candidates = {name: {"seconds": [each]} for name, each in seconds.items()}
    return {"setting": setting, "candidates": candidates, "chosen": chosen}


@pytest.fixture
def series(tiny):
    """Streaming is faster at 8 and 32 tokens, fused from 16 on; the reference is not at 32."""
    return [
        record(tiny, 8, reference=2.0, streaming=1.0, fused=3.0),
        record(tiny, 16, reference=2.0, streaming=3.0, fused=2.0),
        record(tiny, 32, streaming=2.0, fused=2.5),
    ]


def test_crossing_is_where_all_longer_sequences_are_as_fast(series):
    assert crossover.crossing(series, "streaming") == 32
    assert crossover.crossing(series, "fused") == 16
    assert crossover.crossing(series[:2], "streaming") is None
    assert crossover.crossing(series, "compiled") is None


def test_the_choice_is_compared_with_the_fastest(series, tiny):
    assert [crossover.slowdown(each) for each in series] == [
        *("streaming 1.00", "streaming 1.50", "streaming 1.00"),
    ]
    assert crossover.slowdown(record(tiny, 8, "reference", fused=1.0)) == "reference slow"


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_reference_is_left_out_once_it_is_slow(host, tiny, monkeypatch, library):
    host(library)
    monkeypatch.setattr(timing, "MIN_SAMPLE", 0.0)
    monkeypatch.setattr(worker, "MIN_SLOW", 0.0)
    monkeypatch.setattr(worker, "IMPLEMENTATIONS", ("reference", "streaming", "linear"))
    series = [[{"form": form, "tokens": tokens} for tokens in (2, 3)] for form in FORMS]
    setting = tiny._replace(library=library)._asdict()
    request = {"task": "crossover", "setting": setting, "series": series, "repeats": 1}
    for slow, left in ((1e9, True), (0.0, False)):
        monkeypatch.setattr(worker, "SLOW", slow)
        found = worker.answer(request)
        sizes = [(each["setting"]["form"], each["setting"]["tokens"]) for each in found]
        assert sizes == [(form, tokens) for form in FORMS for tokens in (2, 3)]
        assert [("reference" in each["candidates"]) for each in found] == [True, left] * 3
        for each in found:
            assert each["chosen"] == "reference"
            assert each["candidates"]["streaming"]["seconds"]
            assert "cannot run this problem" in each["candidates"]["linear"]["reason"]


def test_crossings_are_written_and_printed(series, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(crossover, "LENGTHS", (8, 16, 32))
    monkeypatch.setattr(crossover, "measure", lambda: iter(series))
    assert crossover.main(["--output", str(tmp_path / "crossover.json")]) == 0
    report = json.loads((tmp_path / "crossover.json").read_text("utf-8"))
    assert len(report["points"]) == 3
    (found,) = report["crossings"]
    assert (found["streaming"], found["fused"], found["setting"]["tokens"]) == (32, 16, None)
    assert "numpy isotropic, H=2, threads=1  32         16" in capsys.readouterr().out


def test_a_process_has_all_forms_of_a_library_with_some_threads(monkeypatch, series):
    requests = []
    monkeypatch.setattr(crossover, "ask", lambda request, limit: requests.append(request) or series)
    monkeypatch.setattr(crossover, "LIBRARIES", ("numpy",))
    assert list(crossover.measure()) == 2 * series
    assert [each["setting"]["threads"] for each in requests] == [1, 2]
    assert len(requests[0]["series"]) == 6
    monkeypatch.setattr(crossover, "ask", lambda request, limit: {"reason": "took too long"})
    with pytest.raises(RuntimeError, match="took too long"):
        next(crossover.measure())
