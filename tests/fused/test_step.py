"""Decoding steps of one token in compiled loops, against the operations of the array API."""

import numpy as np
import pytest

import afa_core as afa

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from afa_numpy.fused import step, step_loops, warm_up  # noqa: E402

BATCH, HEADS, MODES, VALUE_MODES = 2, 3, 3, 2
RNG = np.random.default_rng(0)
PER_HEAD = np.asarray([1e-4, 0.01, 0.5])
NOISE = afa.Noise(PER_HEAD + 0.1, 0.5, np.asarray(0.3))
SDE = afa.IsotropicSDE(PER_HEAD, RNG.standard_normal(MODES), NOISE, RNG.standard_normal(2))
OF_HEADS = SDE._replace(
    frequency=RNG.standard_normal((HEADS, MODES)),
    value_frequency=RNG.standard_normal((BATCH, 1, VALUE_MODES)),
)
CASES = {
    "default": {},
    "frequencies of heads": {"sde": OF_HEADS},
    "a number as frequency": {"sde": SDE._replace(frequency=0.3, value_frequency=0.2)},
    "no decay": {"sde": SDE._replace(decay=0.0)},
    "uniform": {"weighting": afa.Uniform()},
    "gaussian": {"weighting": afa.Gaussian()},
    "rational": {"weighting": afa.Rational(PER_HEAD + 2.0)},
    "temperature": {"weighting": afa.StudentT(2.5), "inverse_temperature": PER_HEAD + 0.7},
    "halves": {"layout": "halves"},
    "later": {"time": 400.5},
    "times": {"times": np.cumsum(RNG.exponential(size=300))},
    "times of sequences": {"times": np.cumsum(RNG.exponential(size=(BATCH, 1, 300)), axis=-1)},
    "padded": {"mask": np.asarray([[[True]], [[False]]]) | (np.arange(300) > 7)},
}


@pytest.fixture
def calls(monkeypatch):
    """Count the tokens that loops append."""
    found = []
    jobs = step_loops.step_jobs
    monkeypatch.setattr(step_loops, "step_jobs", lambda *x: found.append(x) or jobs(*x))
    return found


def of_library(x, library, dtype):
    if isinstance(x, tuple):
        return type(x)(*(of_library(each, library, dtype) for each in x))
    if not isinstance(x, np.ndarray):
        return x
    x = x.astype(dtype) if x.dtype == np.float64 else x
    return torch.from_numpy(x) if library == "torch" else x


def decoded(
    tokens, library="numpy", dtype="float64", *, steps=3, sde=SDE, mask=None, times=None, **options
):
    """Return the estimates of some tokens after a prompt of the others."""

    def own(x):
        return of_library(x, library, dtype)

    query, key, value = map(own, tokens)
    prompt, layout = slice(query.shape[-2] - steps), options.get("layout", "interleaved")
    given = {} if mask is None else {"mask": own(mask[..., prompt])}
    given |= {} if times is None else {"times": own(times[..., prompt])}
    before = key[..., prompt, :], value[..., prompt, :]
    cache = afa.DecodeCache.of(*before, own(sde), layout=layout, **given)
    rest = {name: own(x) for name, x in options.items()}
    found = []
    for i in range(query.shape[-2] - steps, query.shape[-2]):
        now = (x[..., i : i + 1, :] for x in (query, key, value))
        rest |= {} if times is None else {"time": own(times[..., i : i + 1])}
        estimate, cache = afa.estimate_step(*now, own(sde), cache, **rest)
        found.append([np.asarray(x) for x in estimate])
        rest = {**rest, "time": rest["time"] + 1} if "time" in options else rest
    means, precisions = zip(*found, strict=True)
    return [np.concatenate(means, -2), np.concatenate(precisions, -1)], cache


def sample(tokens=300):
    widths = 2 * MODES, 2 * MODES, 2 * VALUE_MODES
    rng = np.random.default_rng(1)
    return [rng.standard_normal((BATCH, HEADS, tokens, width)) for width in widths]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_estimates(calls, monkeypatch, library, case):
    found, cache = decoded(sample(), library, **CASES[case])
    assert len(calls) == 3
    monkeypatch.setattr(step, "_applies", lambda *x: False)
    expected, other = decoded(sample(), **CASES[case])
    assert len(calls) == 3
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-13)
    for name in ("key", "value", "key2", "times", "visible", "latest", "origin"):
        x, y = getattr(cache, name), getattr(other, name)
        assert (x is None) == (y is None)
        if x is not None:
            slots = slice(None) if name in ("latest", "origin") else slice(300)
            np.testing.assert_allclose(
                np.asarray(x)[..., slots, :], y[..., slots, :], atol=1e-13, err_msg=name
            )
    assert (cache.used, cache.capacity) == (other.used, other.capacity)


@pytest.mark.parametrize("tokens", [2, 127, 128, 129, 257])
def test_single_precision(calls, tokens):
    found, _ = decoded(sample(tokens), "torch", "float32", steps=1)
    assert len(calls) == 1
    expected, _ = decoded(sample(tokens), steps=1)
    np.testing.assert_allclose(found[0], expected[0], atol=3e-6)


def test_threads(calls, monkeypatch):
    expected, _ = decoded(sample())
    monkeypatch.setattr(step, "MIN_SHARED", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found, _ = decoded(sample(), "torch")
    assert len(calls) > 6
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-11, atol=1e-13)


def huge(x):
    return [*x[:2], x[2] * 0 + np.inf]


EXTREMES = {
    "keys": (lambda x: [x[0], 1e160 * x[1], x[2]], SDE),
    "values": (huge, SDE),
    "no noise": (lambda x: x, SDE._replace(noise=afa.Noise(0.0, 0.0, 0.0))),
    "growth": (lambda x: x, SDE._replace(decay=-0.01)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_numbers_are_left_to_the_operations(calls, monkeypatch, case):
    change, sde = EXTREMES[case]
    found, _ = decoded(change(sample(12)), sde=sde)
    assert not calls
    monkeypatch.setattr(step, "_applies", lambda *x: False)
    expected, _ = decoded(change(sample(12)), sde=sde)
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("array", ["key", "value", "times"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("weighting", [afa.StudentT(4.0), afa.StudentT(2.5), afa.Gaussian()])
def test_cached_tokens_that_are_not_finite(calls, monkeypatch, weighting, number, array):
    """A token after one that is not finite is as undefined as by the operations."""
    _, key, value = sample(12)
    cache = afa.DecodeCache.of(key, value, SDE)
    getattr(cache, array)[..., 5, :] = number
    cache.key2[:] = np.sum(cache.key**2, axis=-1, keepdims=True)
    one = sample(1)

    def estimate():
        return afa.estimate_step(*one, SDE, cache, weighting=weighting)[0]

    found = estimate()
    assert len(calls) == 1
    monkeypatch.setattr(step, "_applies", lambda *x: False)
    expected = estimate()
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11)


def test_what_loops_do_not_take(calls):
    query, key, value = sample(12)
    cache = afa.DecodeCache.of(key, value, SDE)
    two = [x[..., :2, :] for x in (query, key, value)]
    afa.decode_step(*two, SDE, cache)
    one = [x[..., :1, :] for x in (query, key, value)]
    afa.decode_step(*one, SDE, cache, time=np.full((1,), 12))
    afa.decode_step(*one, SDE, cache, query_variance=np.ones(1))
    afa.decode_step(*(x.astype("float32") for x in one), SDE, cache)
    requires = [torch.from_numpy(x).requires_grad_() for x in one]
    sde = of_library(SDE, "torch", "float64")
    of_torch = afa.DecodeCache.of(torch.from_numpy(key), torch.from_numpy(value), sde)
    out, _ = afa.decode_step(*requires, sde, of_torch)
    out.sum().backward()
    assert requires[0].grad is not None
    last = torch.full((1,), 12.0, dtype=torch.float64, requires_grad=True)
    out, _ = afa.decode_step(*(x.detach() for x in requires), sde, of_torch, time=last)
    assert out.requires_grad
    assert not calls


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_errors_come_first(calls, library):
    tokens = [of_library(x, library, "float64") for x in sample(12)]
    sde, cut = of_library(SDE, library, "float64"), slice(11)
    cache = afa.DecodeCache.of(*(x[..., cut, :] for x in tokens[1:]), sde, capacity=12)
    one = [x[..., 11:, :] for x in tokens]
    with pytest.raises(TypeError, match="`inverse_temperature` must be"):
        afa.decode_step(*one, sde, cache, inverse_temperature="1")
    with pytest.raises(TypeError, match=r"`sde\.noise\.query` must be"):
        afa.decode_step(*one, sde._replace(noise=sde.noise._replace(query=[1.0])), cache)
    with pytest.raises(ValueError, match="`layout`"):
        afa.decode_step(*one, sde, cache, layout="pairs")
    with pytest.raises(ValueError, match=r"`time` must have shape \(\.\.\., 1\)"):
        afa.decode_step(*one, sde, cache, time=of_library(np.asarray(12.0), library, "float64"))
    times, others = (
        of_library(np.zeros(shape), library, "float64") for shape in ((BATCH, 1, 11), (7, 1, 1))
    )
    timed = afa.DecodeCache.of(*(x[..., cut, :] for x in tokens[1:]), sde, times=times)
    with pytest.raises(ValueError, match="leading axes"):
        afa.decode_step(*one, sde, timed, time=others)
    assert not calls
    _, cache = afa.decode_step(*one, sde, cache)
    with pytest.raises(ValueError, match="room for 1 more"):
        afa.decode_step(*one, sde, cache)


def test_steps_are_compiled_ahead():
    """What `warm-up` compiles is all that steps of either library need."""
    for dtype in ("float32", "float64"):
        warm_up.compile_loops(afa.IsotropicSDE, dtype)
        before = len(step_loops.step_jobs.signatures), len(step_loops.fits.signatures)
        for library in ("numpy", "torch"):
            decoded(sample(12), library, dtype)
            decoded(sample(12), library, dtype, **CASES["padded"] | {"mask": None})
        after = len(step_loops.step_jobs.signatures), len(step_loops.fits.signatures)
        assert after == before
