"""Attention in compiled loops: borders of its tiles, threads, numbers that are not finite."""

import errno
import multiprocessing
import threading

import numpy as np
import pytest

import afa_core as afa

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from afa_core.__main__ import main  # noqa: E402
from afa_numpy.fused import engine, needed  # noqa: E402
from afa_numpy.fused import threads as fused_threads  # noqa: E402

BLOCK = 128


def tokens(queries, keys=None, *, heads=3, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(2, heads, n, 6) for n in (queries, keys or queries, keys or queries)]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


DECAY, PROCESS = np.asarray([1e-4, 0.01, 0.5]), np.asarray([0.1, 0.02, 0.3])
FREQUENCY = np.asarray([0.1, 1.0, 0.3])


def frequency_with(decay):
    return torch.from_numpy(FREQUENCY) if isinstance(decay, torch.Tensor) else FREQUENCY


def isotropic(decay=DECAY, process=PROCESS, measurement=0.5, query=0.3):
    noise = afa.Noise(process, measurement, query)
    return afa.IsotropicSDE(decay, frequency_with(decay), noise)


def radial_tangential(decay=DECAY, process=PROCESS, measurement=0.5, query=0.3):
    noises = afa.Noise(process, measurement, query), afa.Noise(query, 2.0 * process, measurement)
    return afa.RadialTangentialSDE(decay, frequency_with(decay), *noises)


def diagonal(decay=DECAY, process=PROCESS, measurement=0.5, query=0.3):
    """The same numbers for each of three modes, not heads."""
    return afa.DiagonalSDE(decay, frequency_with(decay), afa.Noise(process, measurement, query))


FORMS = {"isotropic": isotropic, "radial-tangential": radial_tangential, "diagonal": diagonal}
model = isotropic


CASES = {
    "default": {},
    "acausal": {"causal": False},
    "rational": {"weighting": afa.Rational(2.0)},
    "logarithms": {"weighting": afa.StudentT(2.5)},
    "temperature": {"inverse_temperature": 0.7},
    "irregular": {"times": True},
    "correlated": {"correlated": True},
    "smoother": {"correlated": True, "causal": False, "times": True},
    "masked": {"masked": True, "causal": False},
    "variances of queries": {"variances": True},
}


def options_of(case, queries, keys):
    options = dict(CASES[case])
    if options.pop("times", False):
        times = np.cumsum(np.random.default_rng(1).exponential(size=max(queries, keys)))
        options |= {"query_times": times[-queries:], "key_times": times[-keys:]}
    if options.pop("masked", False):
        seen = np.random.default_rng(3).random((queries, keys)) < 0.5
        options["mask"] = seen | (np.arange(keys) == 0)
    if options.pop("variances", False):
        options["query_variance"] = np.random.default_rng(4).uniform(0.1, 2.0, queries)
    return {k: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for k, x in options.items()}


def values_and_gradients(implementation, arrays, options, dtype=torch.float64, form="isotropic"):
    """Return mean and precision, and the gradients in tokens and parameters of a function."""
    leaves = [torch.from_numpy(x).to(dtype).requires_grad_() for x in arrays]
    parameters = [DECAY, PROCESS, np.asarray(0.5), np.asarray(0.3)]
    leaves += [torch.from_numpy(x).to(dtype).requires_grad_() for x in parameters]
    *qkv, decay, process, measurement, query = leaves
    options, several = dict(options), form == "radial-tangential"
    if "query_variance" in options:
        variance = options["query_variance"].to(dtype)
        both = afa.RadialTangential(variance, 2.0 * variance)
        of_form = {"radial-tangential": both, "diagonal": variance[:, None]}
        options["query_variance"] = of_form.get(form, variance)
    if several and qkv[0].shape != qkv[2].shape:
        options["anchor"] = qkv[2][..., -qkv[0].shape[-2] :, :]
    sde = FORMS[form](decay, process, measurement, query)
    found = afa.estimate(*qkv, sde, implementation=implementation, **options)
    weight = torch.from_numpy(np.random.default_rng(2).standard_normal(found.mean.shape))
    precision = torch.stack(tuple(found.precision)) if several else found.precision
    known = precision[precision > 0.0]  # not of rows that see no key
    loss = (found.mean * weight.to(dtype)).sum() + known.log().sum()
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return found.mean, precision, *(x for x in grads if x is not None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "size", [(BLOCK - 1,) * 2, (BLOCK + 1,) * 2, (2 * BLOCK + 1,) * 2, (5, 300)]
)
def test_borders_of_tiles(case, size, form):
    options = options_of(case, *size)
    if "correlated" in options:
        options["tolerance"] = 0.0
    arrays = tokens(*size)
    pairs = zip(
        values_and_gradients("fused", arrays, options, form=form),
        values_and_gradients("reference", arrays, options, form=form),
        strict=True,
    )
    for found, right in pairs:
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9 * right.abs().max().item())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_single_precision(case, form):
    options, arrays = options_of(case, 300, 300), tokens(300)
    found = values_and_gradients("fused", arrays, options, torch.float32, form)
    right = values_and_gradients("reference", arrays, options, form=form)
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


@pytest.mark.parametrize("openmp", [True, False])
def test_errors_in_threads_reach_the_caller(monkeypatch, openmp):
    if not openmp:
        monkeypatch.setattr(fused_threads, "_openmp", lambda loaded: None)
    done = []
    fused_threads.run_jobs(2, 9, lambda first, last: done.extend(range(first, last)))
    assert sorted(done) == list(range(9))
    with pytest.raises(ZeroDivisionError):
        fused_threads.run_jobs(2, 9, lambda first, last: 1 // 0)


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


def test_products_of_callers_in_turn():
    """They run in one thread until the last caller, whichever that is, has returned."""

    def products():
        return [each.num_threads for each in fused_threads._libraries()]

    def call(_, __):
        within.append(products())
        begun.set()
        returned.wait()

    def overlap(_, __):
        other.start()
        begun.wait()

    before, within = products(), []
    begun, returned = threading.Event(), threading.Event()
    other = threading.Thread(target=fused_threads.run_jobs, args=(1, 1, call), daemon=True)
    fused_threads._set_threads([2] * len(before))
    fused_threads.run_jobs(1, 1, overlap)
    assert products() == [1] * len(before)
    returned.set()
    other.join()
    assert within == [[1] * len(before)]
    assert products() == [2] * len(before)
    fused_threads._set_threads(before)


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
@pytest.mark.parametrize("form", FORMS)
def test_later_tokens_that_are_not_finite(which, number, form):
    """Earlier rows do not see them: attention over tiles of array operations takes over."""
    query, key, value = tokens(300)
    times, sde = np.arange(300.0), FORMS[form]()
    clean = afa.attention(query, key, value, sde, query_times=times, key_times=times)
    late = times.copy()
    {"key": key, "value": value}.get(which, np.zeros((1, 1, 300, 1)))[..., 250:, :] = number
    if which == "time":
        late[250:] = number
    found = afa.attention(
        query, key, value, sde, query_times=times, key_times=late, implementation="fused"
    )
    np.testing.assert_allclose(found[..., :250, :], clean[..., :250, :], atol=1e-12)
    assert np.all(np.isnan(found[..., 260:, :]) | (which == "time"))


def test_it_is_chosen_and_says_why_not(monkeypatch):
    arrays, sde = tokens(300), model()
    assert afa.explain(*arrays, sde).chosen == "fused"
    assert all(afa.explain(*arrays, each()).chosen == "fused" for each in FORMS.values())
    small = afa.explain(*tokens(10), sde)
    assert "the reference is faster" in small.others["fused"]
    monkeypatch.setattr(engine, "missing", lambda: "it needs numba: install the extra `fast`.")
    found = afa.explain(*arrays, sde)
    assert found.chosen == "streaming"
    assert found.others["fused"] == "it needs numba: install the extra `fast`."
    with pytest.raises(ValueError, match="'fused' cannot run this problem: it needs numba"):
        afa.attention(*arrays, sde, implementation="fused")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighting", [afa.Rational, afa.StudentT])
def test_gradients_in_degrees_of_freedom(form, weighting):
    found = {}
    for implementation in ("fused", "reference"):
        dof = torch.tensor([2.0, 3.5, 5.0], dtype=torch.float64, requires_grad=True)
        sde = FORMS[form](torch.from_numpy(DECAY), torch.from_numpy(PROCESS))
        options = {"weighting": weighting(dof), "implementation": implementation}
        out = afa.attention(*map(torch.from_numpy, tokens(20)), sde, **options)
        (found[implementation],) = torch.autograd.grad(out.square().sum(), dof)
    torch.testing.assert_close(found["fused"], found["reference"], rtol=1e-10, atol=0.0)


def test_a_query_without_direction():
    """Its residuals are across it, and nothing is NaN."""
    arrays = tokens(140)
    arrays[0][..., 3::50, :] = 0.0
    found = values_and_gradients("fused", arrays, {}, form="radial-tangential")
    right = values_and_gradients("streaming", arrays, {}, form="radial-tangential")
    for x, exact in zip(found, right, strict=True):
        torch.testing.assert_close(x, exact, rtol=1e-9, atol=1e-9 * exact.abs().max().item())


@pytest.mark.parametrize("causal", [True, False])
def test_early_exit_of_both_components(causal):
    """Tiles are left only where they are negligible in the radial and in the tangential one."""
    arrays, (slow, fast) = tokens(700), (afa.Noise(1e-3, 1.0, 0.1), afa.Noise(3.0, 0.1, 0.1))
    options = {"correlated": True, "causal": causal}
    for noises in ((slow, fast), (fast, slow)):
        sde = afa.RadialTangentialSDE(0.01, FREQUENCY, *noises)
        found = afa.estimate(*arrays, sde, implementation="fused", tolerance=1e-9, **options)
        right = afa.estimate(*arrays, sde, implementation="reference", **options)
        np.testing.assert_allclose(found.mean, right.mean, atol=1e-7)
        for x, exact in zip(found.precision, right.precision, strict=True):
            np.testing.assert_allclose(x, exact, rtol=1e-7)
    sde = afa.RadialTangentialSDE(0.01, FREQUENCY, fast, fast)
    visited, total = afa.visited_blocks(*arrays, sde, **options)
    assert np.all(visited < 0.9 * total)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_early_exit_at_a_temperature(form, causal):
    """Tiles are left where neither the weights nor those at β = 1, of the precision, matter."""
    arrays, beta = tokens(700), torch.asarray([0.6, 1.0, 1.8], dtype=torch.float64)
    options = {"correlated": True, "causal": causal, "inverse_temperature": beta}
    found = values_and_gradients("fused", arrays, options | {"tolerance": 1e-9}, form=form)
    right = values_and_gradients("fused", arrays, options | {"tolerance": 0.0}, form=form)
    for x, exact in zip(found, right, strict=True):
        assert not torch.equal(x, exact)
        torch.testing.assert_close(x, exact, rtol=1e-6, atol=1e-6 * exact.abs().max().item())


@pytest.mark.parametrize("form", FORMS)
def test_influence_that_falls_fast_within_a_tile(form):
    """Within a tile influence falls below the least number of the dtype, on either side."""
    arrays = tokens(300, dtype=np.float32)
    sde = FORMS[form](process=3.0 + PROCESS, measurement=1e-3)  # a token outweighs all before it
    options = {"correlated": True, "causal": False, "tolerance": 0.0}
    found = afa.attention(*arrays, sde, implementation="fused", **options)
    wide = [x.astype(np.float64) for x in arrays]
    exact = afa.attention(*wide, sde, implementation="reference", **options)
    np.testing.assert_allclose(found, exact, atol=1e-5)


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
    monkeypatch.setattr(needed, "NEEDED", ("no_such_library",))
    needed.missing.cache_clear()
    assert main(["warm-up"]) == 2
    needed.missing.cache_clear()
    message = capsys.readouterr().err
    assert message == (
        "afa_core: attention is not compiled here: it needs no_such_library: "
        "install the extra `fast`.\n"
    )


def test_loops_are_compiled_where_nothing_can_be_written(monkeypatch, caplog):
    """Neither beside the package nor in the user's folder, as in a read-only container."""
    from numba.core import caching

    from afa_numpy.fused import compiled, run, step_loops

    def refuse(locator):
        raise OSError(errno.EROFS, "Read-only file system")

    def increased(x):
        return x + 1

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)
    compiled.announce_no_cache.cache_clear()
    with caplog.at_level("WARNING", "afa_core"):
        assert compiled.compiled_on_disk(increased)(1) == 2
        for module in (run, step_loops):
            module._entry_points("")
    assert [each.message for each in caplog.records if "NUMBA_CACHE_DIR" in each.message] == [
        caplog.records[0].message
    ]


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
