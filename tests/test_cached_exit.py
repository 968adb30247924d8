"""Early exit of steps: which cached keys are visited, and what leaving the others out changes."""

import math

import numpy as np
import pytest

import afa_core as afa
from afa_core.backend import load
from afa_core.decoding import cache, early_exit

HEADS, TOKENS, LATEST = 3, 300, 8
PROCESS = np.asarray([1e-4, 0.5, 5.0])
FORMS = ("isotropic", "diagonal", "radial_tangential")


@pytest.fixture(autouse=True)
def latest(monkeypatch):
    """So few keys are visited by all heads that short caches have others."""
    for module in (cache, early_exit):
        monkeypatch.setattr(module, "LATEST", LATEST)
    monkeypatch.setattr(early_exit, "MIN_KEYS", 2 * LATEST + 1)


@pytest.fixture
def visited(monkeypatch):
    """The number of heads times that of keys in every evaluation."""
    found, evaluate = [], early_exit.evaluate

    def counted(queries, tokens, *rest, **options):
        found.append(math.prod(queries.query.shape[:-2]) * tokens.key.shape[-2])
        return evaluate(queries, tokens, *rest, **options)

    monkeypatch.setattr(early_exit, "evaluate", counted)
    return found


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def model(array, form="isotropic", process=PROCESS):
    """A model whose heads remember for different times."""
    process = np.asarray(process)
    noise = afa.Noise(array(process), 1.0, 0.5)
    if form == "diagonal":
        each = array(np.stack([process, 2.0 * process], axis=-1))
        decay = array(np.asarray([0.01, 0.02]))
        return afa.DiagonalSDE(decay, array(np.asarray([0.3, 0.1])), noise._replace(process=each))
    if form == "radial_tangential":
        return afa.RadialTangentialSDE(0.01, 0.3, noise, noise._replace(measurement=0.7))
    return afa.IsotropicSDE(0.01, 0.3, noise)


def step(library, prompt, new, sde, *, times=None, mask=None, **options):
    """The estimate of new tokens (query, key, value) after a prompt (key, value), in NumPy."""
    backend = load(library)
    array = backend.from_numpy
    count = prompt[0].shape[-2]
    kinds = {"correlated": True}
    options = {"weighting": afa.Rational(4.0), **options}
    of = {} if mask is None else {"mask": array(mask)}
    if times is not None:
        of["times"] = array(times[..., :count])
        options["time"] = array(times[..., count:])
    filled = afa.DecodeCache.of(*map(array, prompt), sde(array), **kinds, **of)
    estimate, _ = afa.estimate_step(*map(array, new), sde(array), filled, **kinds, **options)
    parts = estimate.precision if isinstance(estimate.precision, tuple) else [estimate.precision]
    return [backend.to_numpy(x) for x in (estimate.mean, *parts)]


def tokens(count, arrays, heads=(HEADS,), seed=0):
    return [normal(*heads, count, 4, seed=seed + each) for each in range(arrays)]


def largest(*values):
    return np.max(np.linalg.norm(np.concatenate(values, axis=-2), axis=-1))


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("temperature", "new"), [(1.0, 1), (0.5, 3), (2.0, 1)])
def test_default_leaves_nothing_out(library, form, temperature, new, visited):
    """By default what is left out is within rounding, of precisions too; heads are out of order."""
    pytest.importorskip(library)
    prompt, own = tokens(TOKENS, 2), tokens(new, 3, seed=5)
    order = PROCESS[[1, 2, 0]]
    options = {"inverse_temperature": temperature}

    def sde(array):
        return model(array, form, order)

    found = step(library, prompt, own, sde, **options)
    fewer = sum(visited)
    visited.clear()
    exact = step(library, prompt, own, sde, tolerance=0.0, **options)
    assert fewer < sum(visited)
    for each, expected in zip(found, exact, strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", ["queries", "keys", "values", "gaps", "hidden"])
@pytest.mark.parametrize("tolerance", [1e-6, 0.5])
def test_error_below_the_bound(form, what, tolerance):
    """For far queries, near keys that are outliers, far values that are huge, gaps, hidden keys."""
    key, value = tokens(TOKENS, 2)
    query, *own = tokens(2, 3, seed=5)
    times, mask = np.arange(TOKENS + 2.0), None
    if what == "queries":
        query = 1e4 * query
    elif what == "keys":
        key[:, -40:] *= 1e5
    elif what == "values":
        value[:, : TOKENS // 2] *= 1e8
    elif what == "gaps":
        times = np.cumsum(np.where(np.arange(TOKENS + 2) % 50 == 0, 1e3, 1e-3))
    else:
        mask = np.arange(TOKENS) < TOKENS - 30
    options = {"times": times, "mask": mask, "weighting": afa.StudentT(4.0)}

    def sde(array):
        return model(array, form)

    exact, found = (
        step("numpy", (key, value), (query, *own), sde, tolerance=each, **options)[0]
        for each in (0.0, tolerance)
    )
    factor = 2.0 * tolerance / (1.0 + tolerance) * (2.0**0.5 if form != "isotropic" else 1.0)
    error = np.linalg.norm(found - exact, axis=-1)
    assert np.max(error) <= (factor + 1e-12) * largest(value, own[1])


def test_heads_visit_what_they_remember(visited):
    """Blocks of keys are visited by the heads that need them; a greater tolerance needs fewer."""
    prompt, own = tokens(TOKENS, 2), tokens(1, 3, seed=5)
    counts = []
    for tolerance in (0.0, 1e-12, 1e-3):
        visited.clear()
        step("numpy", prompt, own, model, tolerance=tolerance)
        counts.append(sum(visited))
    assert counts[0] == HEADS * (TOKENS + 1)
    assert TOKENS < counts[2] < counts[1] < TOKENS + 1 + 2 * 150


def test_outliers_have_the_keys_before_them_visited(visited):
    """Near keys that are all outliers have little weight: a step visits those before them."""
    key, value = tokens(TOKENS, 2)
    own = tokens(1, 3, seed=5)

    def sde(array):
        return model(array, process=np.full(HEADS, 0.5))

    outliers = key.copy()
    outliers[:, -60:] *= 1e12
    own[1] *= 1e12
    counts, means = [], []
    for each, tolerance in ((key, 1e-3), (outliers, 1e-3), (outliers, 0.0)):
        visited.clear()
        means.append(step("numpy", (each, value), own, sde, tolerance=tolerance)[0])
        counts.append(sum(visited))
    assert counts[0] < counts[1] < counts[2]
    assert 0.0 < np.max(np.abs(means[1] - means[2])) <= 2e-3 * largest(value, own[2])


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("what", [0, 1])
def test_far_tokens_that_are_not_finite_are_not_left_out(library, what):
    """NaN in a key or a value reaches every row that attends to it, however small its weight."""
    pytest.importorskip(library)
    prompt, own = tokens(TOKENS, 2), tokens(1, 3, seed=5)
    prompt[what][:, 0] = np.nan
    assert np.all(np.isnan(step(library, prompt, own, model)[0]))


@pytest.mark.parametrize("leading", [(2, HEADS), (HEADS, 2)])
def test_any_axis_of_heads(leading, visited):
    """Heads whose memories differ are apart along any leading axis."""
    prompt, own = tokens(TOKENS, 2, leading), tokens(2, 3, leading, seed=5)

    def sde(array):
        return model(array, process=PROCESS if leading[1] == HEADS else PROCESS[:, None])

    found = step("numpy", prompt, own, sde)
    fewer = sum(visited)
    visited.clear()
    exact = step("numpy", prompt, own, sde, tolerance=0.0)
    assert fewer < sum(visited)
    for each, expected in zip(found, exact, strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-12, atol=1e-13)


def test_queries_that_share_keys():
    """Groups of queries share keys, and have variances of their own."""
    prompt, own = tokens(TOKENS, 2, (HEADS, 1)), tokens(1, 3, (HEADS, 1), seed=5)
    own[0] = normal(HEADS, 2, 1, 4, seed=9)
    options = {"query_variance": np.abs(normal(HEADS, 2, 1))}

    def sde(array):
        return model(array, process=PROCESS[:, None])

    found, exact = (
        step("numpy", prompt, own, sde, tolerance=each, **options)[0] for each in (1e-9, 0.0)
    )
    assert 0.0 < np.max(np.abs(found - exact)) <= 2e-9 * largest(prompt[1], own[2])


def test_prompts_are_seen_whole():
    """Rows of a long first step see keys of their own, which are not left out."""
    own = tokens(50, 3)
    arrays = [afa.DecodeCache.empty(*own[1:], model(np.asarray), correlated=True)]
    options = {"weighting": afa.Rational(4.0), "correlated": True, "tolerance": 0.5}
    found, _ = afa.decode_step(*own, model(np.asarray), *arrays, **options)
    expected = afa.attention(
        *own, model(np.asarray), **{**options, "tolerance": 0.0}, implementation="reference"
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_torch_gradients_and_transforms():
    """Gradients are those of all keys to the tolerance; under vmap every key is visited."""
    torch = pytest.importorskip("torch")
    sde, own = model(torch.asarray), [torch.asarray(x) for x in tokens(1, 3, seed=5)]
    prompt = [torch.asarray(x) for x in tokens(TOKENS, 2)]

    def total(query, tolerance):
        filled = afa.DecodeCache.of(*prompt, sde, correlated=True)
        options = {"weighting": afa.Rational(4.0), "correlated": True, "tolerance": tolerance}
        return afa.decode_step(query, *own[1:], sde, filled, **options)[0].sum()

    exact, found = (
        torch.autograd.grad(total(query, tolerance), query)[0]
        for tolerance in (0.0, 1e-9)
        for query in [own[0].clone().requires_grad_()]
    )
    torch.testing.assert_close(found, exact, rtol=0.0, atol=1e-8)
    stacked = torch.stack([own[0], 2.0 * own[0]])
    mapped = torch.func.vmap(lambda query: total(query, 0.5))(stacked)
    expected = torch.stack([total(query, 0.0) for query in stacked])
    torch.testing.assert_close(mapped, expected)


@pytest.mark.parametrize("keys", [1, LATEST, 2 * LATEST, 2 * LATEST + 1, 1000])
def test_blocks_double(keys):
    """Blocks cover the cache, each as long as all later ones together."""
    edges = [keys, *early_exit.block_edges(keys)]
    sizes = -np.diff(edges)
    assert sum(sizes) == keys
    assert keys <= 2 * LATEST or sizes[0] == LATEST
    assert all(size == sum(sizes[:place]) for place, size in enumerate(sizes[1:-1], 1))
