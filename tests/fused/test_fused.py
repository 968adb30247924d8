"""Attention in compiled loops: borders of its tiles, threads, numbers that are not finite."""

import multiprocessing
import threading

import numpy as np
import pytest

import afa_core as afa

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from afa_core.__main__ import main  # noqa: E402
from afa_numpy.fused import engine  # noqa: E402

BLOCK = 128


def tokens(queries, keys=None, *, heads=3, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(2, heads, n, 6) for n in (queries, keys or queries, keys or queries)]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def model(heads=3, dtype=np.float64):
    decay = np.asarray([1e-4, 0.01, 0.5][:heads], dtype=dtype)
    noise = afa.Noise(np.asarray([0.1, 0.02, 0.3][:heads], dtype=dtype), 0.5, 0.3)
    return afa.IsotropicSDE(decay, np.asarray([0.1, 1.0, 0.3]), noise)


CASES = {
    "default": {},
    "acausal": {"causal": False},
    "rational": {"weighting": afa.Rational(2.0)},
    "logarithms": {"weighting": afa.StudentT(2.5)},
    "temperature": {"inverse_temperature": 0.7},
    "irregular": {"times": True},
    "correlated": {"correlated": True},
    "smoother": {"correlated": True, "causal": False, "times": True},
}


def options_of(case, queries, keys):
    options = dict(CASES[case])
    if options.pop("times", False):
        times = np.cumsum(np.random.default_rng(1).exponential(size=max(queries, keys)))
        options |= {"query_times": times[-queries:], "key_times": times[-keys:]}
    return options


def values_and_gradients(implementation, arrays, options, dtype=torch.float64):
    """Return mean and precision, and the gradients in tokens and parameters of a function."""
    leaves = [torch.from_numpy(x).to(dtype).requires_grad_() for x in arrays]
    sde = model()
    parameters = [sde.decay, sde.noise.process, np.asarray(0.5), np.asarray(0.3)]
    leaves += [torch.from_numpy(x).to(dtype).requires_grad_() for x in parameters]
    *qkv, decay, process, measurement, query = leaves
    noise = afa.Noise(process, measurement, query)
    options = {k: torch.from_numpy(x) if "times" in k else x for k, x in options.items()}
    sde = afa.IsotropicSDE(decay, torch.from_numpy(sde.frequency), noise)
    found = afa.estimate(*qkv, sde, implementation=implementation, **options)
    weight = torch.from_numpy(np.random.default_rng(2).standard_normal(found.mean.shape))
    loss = (found.mean * weight.to(dtype)).sum() + found.precision.log().sum()
    return found.mean, found.precision, *torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "size", [(BLOCK - 1,) * 2, (BLOCK + 1,) * 2, (2 * BLOCK + 1,) * 2, (5, 300)]
)
def test_borders_of_tiles(case, size):
    options = options_of(case, *size)
    if "correlated" in options:
        options["tolerance"] = 0.0
    arrays = tokens(*size)
    pairs = zip(
        values_and_gradients("fused", arrays, options),
        values_and_gradients("reference", arrays, options),
        strict=True,
    )
    for found, right in pairs:
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9 * right.abs().max().item())


@pytest.mark.parametrize("case", CASES)
def test_single_precision(case):
    options, arrays = options_of(case, 300, 300), tokens(300)
    found = values_and_gradients("fused", arrays, options, torch.float32)
    right = values_and_gradients("reference", arrays, options)
    for place, (x, exact) in enumerate(zip(found, right, strict=True)):
        scale = exact.abs().max().item()
        tolerance = 5e-6 if place < 2 else 1e-4
        torch.testing.assert_close(x.double(), exact, rtol=0.0, atol=tolerance * scale)


def test_threads_do_not_change_results():
    arrays = tokens(300)
    before = torch.get_num_threads()
    try:
        found = {}
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = values_and_gradients("fused", arrays, {})
    finally:
        torch.set_num_threads(before)
    for threads in (2, 3):
        for x, right in zip(found[threads], found[1], strict=True):
            torch.testing.assert_close(x, right, rtol=1e-12, atol=1e-12)


def test_callers_in_threads():
    arrays, sde = tokens(300), model()
    right = afa.attention(*arrays, sde, implementation="fused")
    found = [None] * 4

    def call(place):
        found[place] = afa.attention(*arrays, sde, implementation="fused")

    threads = [threading.Thread(target=call, args=(place,)) for place in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for x in found:
        np.testing.assert_array_equal(x, right)


def in_child(queue):
    arrays = tokens(300, dtype=np.float64)
    queue.put(afa.attention(*arrays, model(), implementation="fused"))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork():
    right = afa.attention(*tokens(300), model(), implementation="fused")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=in_child, args=(queue,))
    child.start()
    found = queue.get(timeout=120)
    child.join()
    np.testing.assert_array_equal(found, right)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("which", ["key", "value", "time"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_later_tokens_that_are_not_finite(which, number):
    """Earlier rows do not see them: attention over tiles of array operations takes over."""
    query, key, value = tokens(300)
    times = np.arange(300.0)
    clean = afa.attention(query, key, value, model(), query_times=times, key_times=times)
    late = times.copy()
    {"key": key, "value": value}.get(which, np.zeros((1, 1, 300, 1)))[..., 250:, :] = number
    if which == "time":
        late[250:] = number
    found = afa.attention(
        query, key, value, model(), query_times=times, key_times=late, implementation="fused"
    )
    np.testing.assert_allclose(found[..., :250, :], clean[..., :250, :], atol=1e-12)
    assert np.all(np.isnan(found[..., 260:, :]) | (which == "time"))


def test_it_is_chosen_and_says_why_not(monkeypatch):
    arrays, sde = tokens(300), model()
    assert afa.explain(*arrays, sde).chosen == "fused"
    diagonal = afa.DiagonalSDE(0.1, np.ones(3), afa.Noise(0.1, 1.0, 1.0))
    found = afa.explain(*arrays, diagonal)
    assert found.others["fused"] == "it has the isotropic form only."
    small = afa.explain(*tokens(10), sde)
    assert "the reference is faster" in small.others["fused"]
    monkeypatch.setattr(engine, "missing", lambda: "it needs numba: install the extra `fast`.")
    found = afa.explain(*arrays, sde)
    assert found.chosen == "streaming"
    assert found.others["fused"] == "it needs numba: install the extra `fast`."
    with pytest.raises(ValueError, match="'fused' cannot run this problem: it needs numba"):
        afa.attention(*arrays, sde, implementation="fused")


def test_second_derivatives_name_the_reference():
    leaf = torch.from_numpy(tokens(300)[0]).requires_grad_()
    sde = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.1, 0.5, 0.3))
    loss = afa.attention(leaf, leaf, leaf, sde, implementation="fused").sum()
    (grad,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="implementation='reference'"):
        grad.sum().backward()


def test_exported_programs_do_not_call_it():
    sde = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.1, 0.5, 0.3))

    class Module(torch.nn.Module):
        def forward(self, x):
            return afa.attention(x, x, x, sde)

    x = torch.zeros(100, 4)
    assert afa.explain(x, x, x, sde).chosen == "fused"
    program = torch.export.export(Module(), (x,))
    assert "afa." not in str(program.graph)


def test_loops_are_compiled_ahead(capsys):
    assert main(["warm-up"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = {(form.__name__, x) for form in engine.FORMS for x in ("float32", "float64")}
    assert {tuple(x.removeprefix("compiled: ").split(", ")) for x in lines} == expected


def test_what_is_missing_to_compile_is_named(monkeypatch, capsys):
    monkeypatch.setattr(engine, "NEEDED", ("no_such_library",))
    engine.missing.cache_clear()
    assert main(["warm-up"]) == 2
    engine.missing.cache_clear()
    message = capsys.readouterr().err
    assert message == (
        "afa_core: attention is not compiled here: it needs no_such_library: "
        "install the extra `fast`.\n"
    )


def test_compilation_is_announced(caplog):
    from numba.core import event

    from afa_numpy.fused import run

    with (
        caplog.at_level("WARNING", "afa_core"),
        event.trigger_event("numba:compile", {"dispatcher": run._forward}),
    ):
        pass
    assert "warm-up" in caplog.text
    caplog.clear()
    with event.trigger_event("numba:compile", {"dispatcher": None}):
        pass
    assert not caplog.text
