"""Benchmarks: what takes part is what it says it is; no test looks at how long it took."""

import json
import re
import subprocess
import sys
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import afa_core as afa
from afa_bench import (
    accuracy,
    cases,
    memory,
    page,
    proc,
    suite,
    timing,
)
from afa_bench.baselines import products, published
from afa_bench.baselines.select import available, instruments
from afa_bench.candidates import Task
from afa_bench.cases import CASES
from afa_bench.inputs import draw, send
from afa_bench.measure import Job, ask, measure, merge
from afa_bench.results import Row, Run, rows_of
from afa_bench.setting import WEIGHTINGS, Setting
from afa_bench.targets import TARGETS
from afa_bench.units import bytes_text, digits, seconds_text
from afa_bench.worker import answer
from afa_core.backend import load
from afa_core.model.sde import parameters_of

DOCS = Path(__file__).parents[2] / "docs"
TINY = Setting("numpy", heads=2, tokens=20, modes=3, dtype="float64", decay=(0.01, 0.3))
SMALL = ("--tokens", 24, "--heads", 2, "--modes", 3, "--repeats", 2)


@pytest.fixture
def take(host):
    """Run a contender by name on a setting, and return what it computes in NumPy arrays."""

    def run(setting, name="afa"):
        backend = host(setting.library)
        inputs = send(CASES[setting.case].inputs(setting), setting, backend)
        task = Task(setting, inputs, backend, instruments(setting.library))
        entry = CASES[setting.case] if name == "afa" else available(backend, setting)[name]
        assert entry.refusal(setting) == ""
        found = entry.prepare(task)()
        return backend.to_numpy(found[0] if setting.backward else found)

    return run


def rotary_softmax(inputs):
    """Causal dot-product attention with rotary encodings, in complex numbers."""
    asking, (tokens, width) = inputs.query.shape[-2], inputs.key.shape[-2:]
    turn = np.exp(1j * np.arange(tokens)[:, None] * inputs.sde.frequency)
    q = (inputs.query[..., ::2] + 1j * inputs.query[..., 1::2]) * turn[-asking:]
    k = (inputs.key[..., ::2] + 1j * inputs.key[..., 1::2]) * turn
    logits = (q.conj() @ np.swapaxes(k, -1, -2)).real / np.sqrt(width)
    visible = np.tri(asking, tokens, tokens - asking, dtype=bool)
    weight = np.where(visible, np.exp(logits), 0.0)
    return weight / weight.sum(-1, keepdims=True) @ inputs.value


@pytest.mark.parametrize("rivals", [("products", "reference"), ()])
def test_the_command_prints_a_table_and_writes_a_record(run, tmp_path, rivals):
    output = tmp_path / "record.json"
    chosen = [word for name in rivals for word in ("--rival", name)]
    fast = () if rivals else ("--no-memory",)
    code, out, err = run(*SMALL, *chosen, *fast, "--output", output)
    assert code == 0, err
    record = json.loads(output.read_text(encoding="utf-8"))
    expected = rivals or ("products", "published")
    assert tuple(record["contenders"]) == ("afa", *expected)
    for name, found in record["contenders"].items():
        assert len(found["seconds"]) == 2, found
        assert ("bytes" in found) == bool(rivals)
        assert f"\n{name} " in out
    assert record["machine"]["versions"]["numpy"] == np.__version__
    refused = run(*SMALL, "--output", output)
    assert refused[0] == 2
    assert "exists already" in refused[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tokens", 0), "`tokens` must be at least 1, got 0"),
        (("--modes", -1), "`modes` must be at least 1, got -1"),
        (("--repeats", 0), "`repeats` must be at least 1, got 0"),
        (("--form", "round"), "`form` must be one of 'isotropic'.*, got 'round'"),
        (("--weighting", "cauchy"), "`weighting` must be one of 'student'.*, got 'cauchy'"),
        (("--dtype", "int8"), "`dtype` must be one of 'float32'.*, got 'int8'"),
        (("--dtype", "bfloat16"), "`dtype` must be 'float32' or 'float64' for 'numpy'"),
        (("--backward",), "`backward` needs a library that differentiates, got 'numpy'"),
        (("--rival", "sdpa"), "`rival` must be one of 'products'.*, got 'sdpa'"),
        (("--implementation", "magic"), "`implementation` must be one of 'auto'.*, got 'magic'"),
        (("--backend", "fortran"), "`backend` must be one of 'numpy'.*, got 'fortran'"),
        (("--device", "cuda:7"), "backend 'numpy' has no device 'cuda:7'; it has cpu"),
    ],
)
def test_bad_input_is_refused(run, options, message):
    code, out, err = run(*options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(message, err), err


@pytest.mark.parametrize("name", ["published", "published-folded"])
@pytest.mark.parametrize(
    ("library", "weighting"),
    [("torch", "student"), ("jax", "student"), *(("numpy", each) for each in WEIGHTINGS)],
)
def test_the_published_algorithm_is_the_reference(take, library, weighting, name):
    setting = TINY._replace(library=library, weighting=weighting)
    expected = take(setting, "reference")
    np.testing.assert_allclose(take(setting, name), expected, rtol=1e-10, atol=1e-12)


def test_the_published_covariance_switches_at_a_fixed_decay():
    inputs = draw(TINY._replace(decay=(1e-6, 1e-6)))
    still = inputs.sde._replace(decay=np.zeros(2))
    tokens = (inputs.query, inputs.key, inputs.value)
    found = published.published(*tokens, still, inputs.weighting)
    exact = afa.attention(*tokens, still, weighting=inputs.weighting)
    np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", ["attention", "decode"])
@pytest.mark.parametrize(("library", "name"), [("torch", "sdpa"), ("jax", "dot_product_attention")])
def test_dot_product_attention_is_softmax_with_rotary_encodings(host, library, name, case):
    setting = TINY._replace(library=library, case=case)
    backend = host(library)
    inputs = send(CASES[case].inputs(setting), setting, backend)
    rival = available(backend, setting)[name]
    assert rival.refusal(setting) == ""
    found = backend.to_numpy(rival.prepare(Task(setting, inputs, backend, instruments(library)))())
    found = np.swapaxes(found, 1, 2) if library == "jax" else found  # heads after tokens
    expected = rotary_softmax(CASES[case].inputs(setting))
    # JAX takes the softmax in single precision, whatever the dtype.
    tolerance = 1e-6 if library == "jax" else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("weighting", ["student", "rational", "gaussian"])
def test_flex_has_the_logit_of_the_isotropic_form(weighting):
    torch = pytest.importorskip("torch")
    from afa_bench.libraries.torch import flex

    def literal(q, k, v, *, score_mod, block_mask, scale):
        """Say what FlexAttention computes; itself it would be compiled for long."""
        index = torch.meshgrid(*(torch.arange(n) for n in (1, 2, 20, 20)), indexing="ij")
        logits = score_mod(scale * q @ k.mT, *index)
        return torch.softmax(torch.where(block_mask, logits, -torch.inf), -1) @ v

    setting = TINY._replace(library="torch", weighting=weighting)
    inputs = send(draw(setting), setting, load("torch"))
    angles = torch.arange(20.0, dtype=torch.float64)[:, None] * inputs.sde.frequency
    turn = torch.polar(torch.ones_like(angles), angles)
    causal = torch.ones(20, 20, dtype=torch.bool).tril()
    model = {"sde": inputs.sde, "weighting": inputs.weighting}
    found = flex(*inputs[:3], turn, **model, flex_attention=literal, block_mask=causal)
    weights = afa.attention_weights(*inputs[:3], **model)
    values = torch.view_as_complex(inputs.value.unflatten(-1, (-1, 2)))
    carried = turn * (weights.to(values.dtype) @ (turn.conj() * values))
    torch.testing.assert_close(found, torch.view_as_real(carried).flatten(-2))


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_products_are_the_causal_tiles_and_nothing_else(take, monkeypatch, library):
    monkeypatch.setattr(products, "TILE", 8)
    monkeypatch.setattr(products.products, "__kwdefaults__", {"columns": 8})
    setting = TINY._replace(library=library)
    inputs = draw(setting)
    tile = np.arange(20) // 8
    scores = inputs.query @ np.swapaxes(inputs.key, -1, -2)
    # The last tile is 4 wide, so all that stands in a tile at or below the diagonal counts.
    expected = np.where(tile[:, None] >= tile, scores, 0.0) @ inputs.value
    np.testing.assert_allclose(take(setting, "products"), expected, rtol=1e-10, atol=1e-12)


def test_the_isotropic_rival_has_the_tangential_noise(take):
    setting = TINY._replace(form="radial-tangential")
    inputs = draw(setting)
    same = afa.IsotropicSDE(inputs.sde.decay, inputs.sde.frequency, inputs.sde.tangential_noise)
    expected = afa.attention(*inputs[:3], same, weighting=inputs.weighting)
    np.testing.assert_allclose(take(setting, "isotropic"), expected, rtol=1e-12)


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("form", ["isotropic", "radial-tangential", "diagonal"])
def test_the_backward_has_the_gradient_of_every_parameter(host, library, form):
    setting = TINY._replace(library=library, form=form, tokens=6, backward=True)
    backend = host(library)
    task = Task(setting, send(draw(setting), setting, backend), backend, instruments(library))
    output, gradients = CASES["attention"].prepare(task)()
    assert output.shape == task.inputs.upstream.shape
    tokens = dict(zip(("query", "key", "value"), task.inputs[:3], strict=True))
    arrays = tokens | parameters_of(task.inputs.sde)
    for (label, x), gradient in zip(arrays.items(), gradients, strict=True):
        assert gradient.shape == x.shape, label
        assert np.abs(backend.to_numpy(gradient)).max() > 0.0, label


def test_a_step_of_decoding_is_of_one_token_beyond_those_cached():
    inputs = CASES["decode"].inputs(TINY)
    assert [x.shape[-2] for x in inputs[:4]] == [1, 21, 21, 1]


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_steps_of_decoding_continue_and_begin_again(host, library, monkeypatch):
    monkeypatch.setattr(cases, "STEPS", 2)
    setting = TINY._replace(library=library, case="decode")
    backend, drawn = host(library), CASES["decode"].inputs(setting)
    inputs = send(drawn, setting, backend)
    call = CASES["decode"].prepare(Task(setting, inputs, backend, instruments(library)))
    expected = afa.attention(*drawn[:3], drawn.sde, weighting=drawn.weighting)
    found = [backend.to_numpy(call()) for _ in range(4)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-10, atol=1e-12)
    assert np.any(found[1] != found[0])  # has one token more
    np.testing.assert_allclose(found[2:], found[:2], rtol=1e-12)


@pytest.mark.parametrize("form", ["isotropic", "radial-tangential", "diagonal"])
def test_accuracy_is_against_the_reference_in_double_precision(monkeypatch, form):
    monkeypatch.setattr(accuracy, "ROWS", 7)
    setting = TINY._replace(dtype="float32", form=form)
    found = accuracy.errors(setting, draw(setting), load("numpy"), instruments("numpy"))
    assert set(found) == {"output"}
    assert 0.0 < found["output"] < 2e-6
    exact = accuracy.errors(TINY, draw(TINY), load("numpy"), instruments("numpy"))
    assert exact["output"] < 1e-14


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_accuracy_of_a_long_sequence_is_that_of_some_rows(host, monkeypatch, library):
    for name, value in (("ROWS", 3), ("LONG", 10), ("SAMPLES", 2)):
        monkeypatch.setattr(accuracy, name, value)
    assert [accuracy._pieces(n) for n in (4, 20)] == [
        [slice(0, 3), slice(3, 4)],
        [slice(0, 3), slice(9, 12), slice(18, 20)],
    ]
    backward = library != "numpy"
    setting = TINY._replace(library=library, dtype="float32", backward=backward)
    backend, drawn = host(library), draw(setting)
    found = accuracy.errors(setting, drawn, backend, instruments(library))
    assert set(found) == ({"output", "query"} if backward else {"output"})
    assert all(0.0 < error < 1e-5 for error in found.values())


def test_bfloat16_tokens_keep_parameters_in_single_precision():
    torch = pytest.importorskip("torch")
    setting = TINY._replace(library="torch", dtype="bfloat16")
    inputs = send(draw(setting), setting, load("torch"))
    assert {x.dtype for x in inputs[:4]} == {torch.bfloat16}
    assert {x.dtype for x in parameters_of(inputs.sde).values()} == {torch.float32}


def test_the_suite_asks_the_libraries_for_a_gpu(monkeypatch):
    seen = {"torch": "", "jax": "H200", "numpy": "", "cupy": "another"}
    some = instruments("numpy")
    assert some.gpu() == ""
    monkeypatch.setattr(suite, "instruments", lambda name: some._replace(gpu=lambda: seen[name]))
    assert suite.gpu(list(seen)) == "H200"
    assert suite.gpu(["torch", "numpy"]) == ""


def test_fields_of_the_kernel_are_found_by_their_whole_name(tmp_path):
    path = tmp_path / "status"
    path.write_text("MemTotalHuge: 1 kB\nMemTotal:\t 24 kB\nmodel name\t: A: B\n", "utf-8")
    assert proc.field(path, "model name") == "A: B"
    assert proc.size(path, "MemTotal") == 24 * 1024
    assert proc.field(path, "processor") == ""
    assert proc.size(tmp_path / "nothing", "MemTotal") is None


def test_peak_memory_is_that_of_the_call():
    size = 100_000_000
    found = memory.peak(lambda: np.ones(size // 8))
    if found.method != "VmHWM":
        pytest.skip("the high-water mark cannot be reset here")
    assert 0.95 * size < found.extra < 1.2 * size


def test_a_call_that_needs_too_much_fails_by_itself():
    if memory.peak(lambda: None).method != "VmHWM":
        pytest.skip("memory can be bounded on Linux only")
    code = "import numpy as np; from afa_bench.memory import bound; bound(1e-4); np.ones(10**9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    calls = []
    seconds = timing.alternate(
        {"a": partial(calls.append, "a"), "b": partial(calls.append, "b")}, 3
    )
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3}
    assert [name for name, _ in groupby(calls)] == ["a", "b"] * 4  # the first to see how long


def test_ratios_are_of_medians_and_of_rounds():
    found = timing.compare([1.0, 2.0, 9.0], [2.0, 2.0, 3.0])
    assert found == (1.0, 0.75, 1.0, 2.0)
    assert timing.compare([3.0], [2.0]) == (1.5, 1.5, 1.5, 1.5)


def test_numbers_have_three_digits():
    assert seconds_text(0.01234) == "12.3 ms"
    assert bytes_text(4.56e7) == "45.6 MB"
    assert [digits(x) for x in (0.0123, 1.352, 12.34, 345.6, 5e-7)] == [
        *("0.012", "1.35", "12.3", "346", "5e-7")
    ]


def test_a_contender_that_fails_leaves_its_reason(monkeypatch):
    monkeypatch.setitem(products.products.__kwdefaults__, "columns", "wide")
    contenders = ["afa", "products"]
    request = {"task": "time", "setting": TINY._asdict(), "contenders": contenders, "repeats": 1}
    found = answer(request)["contenders"]
    assert "seconds" in found["afa"]
    assert found["products"]["reason"].startswith("TypeError: ")


def test_a_process_that_takes_too_long_leaves_its_reason():
    request = {"task": "memory", "setting": TINY._asdict(), "contender": "afa"}
    assert ask(request, 0.01) == {"reason": "took more than 0 s"}


def test_a_case_that_is_refused_is_not_run():
    setting = TINY._replace(case="window", form="diagonal")
    refusal = CASES["window"].refusal(setting)
    assert refusal == "only the isotropic form has a window"
    record = measure(Job(setting, accuracy=True), {"afa": refusal})
    assert record["contenders"] == {"afa": {"reason": refusal}}


def test_rows_are_numbers_as_text_beside_our_time():
    ours, theirs = {"seconds": [0.2, 0.2], "bytes": 3e6}, {"seconds": [0.1, 0.1]}
    contenders = {"afa": ours, "sdpa": theirs, "flex": {"reason": "refused"}}
    assert rows_of({"contenders": contenders, "chosen": "streaming"}) == [
        Row("afa", "afa (streaming)", time="200 ms", extra="3.00 MB"),
        Row("sdpa", "sdpa", time="100 ms", ratio="2.00", quartiles=("2.00", "2.00")),
        Row("flex", "flex", reason="refused"),
    ]


def test_jobs_of_one_setting_are_one():
    jobs = merge([Job(TINY, ("a",)), Job(TINY, ("b", "a"), time=False, memory=True)])
    assert jobs == [Job(TINY, ("a", "b"), memory=True)]
    once = [Job(TINY, repeats=1), Job(TINY, time=False, memory=True)]
    assert merge(once) == merge(once[::-1]) == [Job(TINY, memory=True, repeats=1)]


NOWHERE = {
    **dict.fromkeys(("processor", "architecture", "system", "python"), "none"),
    **dict.fromkeys(("device", "threads"), ""),
    **{"cores": 2, "memory_gib": None, "load_before": 0.1, "versions": {}},
}


def test_what_was_not_measured_is_no_pass():
    text = page.page([Run("cpu", {"quick": False, "records": [], "machine": NOWHERE})])
    assert text.count("not measured: not part of this run") == len(TARGETS)
    assert "yes" not in text


def test_what_is_measured_on_a_busy_machine_says_so():
    report = {"quick": False, "records": [], "machine": NOWHERE}
    assert "busy" not in page.page([Run("cpu", report)])
    report = report | {"machine": NOWHERE | {"load_before": 3.0}}
    assert "a load average of 3.0 on 2 cores" in page.page([Run("cpu", report)])


def test_targets_name_settings_that_can_be_measured():
    for target in TARGETS:
        assert target.jobs
        for job in target.jobs:
            job.setting.check()
            assert job.setting.case in CASES


def test_the_page_is_generated_from_the_reports():
    runs = page.read(DOCS / "reports" / "bench")
    assert page.page(runs) == (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def test_the_figures_of_the_page_are_there(tmp_path):
    runs = page.read(DOCS / "reports" / "bench")
    folder = DOCS / "reports" / "bench"
    page.main([str(folder), "--output", str(tmp_path / "page.md"), "--figures", str(tmp_path)])
    for run in runs:
        for name in ("time", "memory"):
            figure = f"bench-{run.name}-{name}.png"
            assert (DOCS / "figures" / figure).is_file()
            assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
