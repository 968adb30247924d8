"""Steps of many tokens: tiles give what all pairs at once give, and memory stays bounded."""

import tracemalloc

import numpy as np
import pytest

import afa_core as afa
from afa_core.decoding import tiled
from afa_core.implementations import IMPLEMENTATIONS
from afa_core.streaming.attention import stream

TOKENS, HEADS = 12, 3
NOISE = afa.Noise(0.2, 1.0, 0.5)
STREAMING = next(each for each in IMPLEMENTATIONS if each.name == "streaming")
FORMS = ("isotropic", "diagonal", "radial_tangential")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def model(array, form):
    """A model of d = 2 modes; values have frequencies of their own where the form lets them."""
    modes = array(np.asarray([0.3, -1.0]))
    if form == "diagonal":
        return afa.DiagonalSDE(array(np.asarray([0.1, 0.4])), modes, NOISE)
    own = array(np.asarray([0.7, 0.2]))
    if form == "isotropic":
        return afa.IsotropicSDE(array(np.asarray([0.1, 0.2, 0.0])), modes, NOISE, own)
    return afa.RadialTangentialSDE(0.1, modes, NOISE, NOISE._replace(process=0.6), own)


@pytest.fixture
def runs(monkeypatch):
    """The number of queries of every evaluation in tiles."""
    found = []

    def counted(problem, *arguments, **options):
        found.append(problem.visibility.queries)
        return stream(problem, *arguments, **options)

    monkeypatch.setattr(tiled, "stream", counted)
    return found


@pytest.fixture
def small(monkeypatch, runs):
    """Every step is evaluated in tiles of two queries."""
    counted = tiled.stream
    monkeypatch.setattr(tiled, "MIN_TOKENS", 1)
    monkeypatch.setattr(tiled, "choose", lambda *_: STREAMING)
    monkeypatch.setattr(
        tiled, "stream", lambda problem, engine, _, **rest: counted(problem, engine, 2, **rest)
    )
    return runs


def per_token(x, rows, array):
    """Rows of times, of a mask or of variances of queries, along the last axis of tokens."""
    if isinstance(x, tuple):
        return type(x)(*(per_token(each, rows, array) for each in x))
    return None if x is None else array(x[..., rows, :] if x.shape[-1] == 1 else x[..., rows])


def decode(array, tokens, sde, sizes, *, correlated, times=None, mask=None, **options):
    """Return the means and the precisions of steps of these sizes, of query, key and value."""
    layout = {"layout": options.get("layout", "interleaved")}
    own = {"time": times, "mask": mask, "query_variance": options.pop("query_variance", None)}
    query, key, value = map(array, tokens)
    kinds = {"times": per_token(times, slice(None), array), "correlated": correlated}
    kinds["mask"] = per_token(mask, slice(None), array)
    cache = afa.DecodeCache.empty(key, value, sde, **kinds, **layout)
    found = []
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        rows = slice(start, start + size)
        given = {name: per_token(x, rows, array) for name, x in own.items()}
        piece = (x[..., rows, :] for x in (query, key, value))
        estimate, cache = afa.estimate_step(
            *piece, sde, cache, correlated=correlated, **given, **options
        )
        found.append(estimate)
    return [x.mean for x in found], [x.precision for x in found]


def numbers(backend, means, precisions, form):
    """Return means and precisions of all steps in NumPy."""
    axis = -2 if form == "diagonal" else -1
    columns = [x if isinstance(x, tuple) else (x,) for x in precisions]
    parts = [[backend.to_numpy(x) for x in column] for column in zip(*columns, strict=True)]
    mean = np.concatenate([backend.to_numpy(x) for x in means], axis=-2)
    return [mean, *(np.concatenate(column, axis=axis) for column in parts)]


CASES = {
    "plain": {},
    "halves": {"layout": "halves", "inverse_temperature": 0.7},
    "gaussian": {"weighting": afa.Gaussian(), "times": np.cumsum(np.abs(normal(TOKENS)))},
    "hidden": {
        "times": np.cumsum(np.abs(normal(2, 1, TOKENS)), axis=-1),
        "mask": normal(2, 1, TOKENS, seed=3) > -0.5,
    },
    "own variance": {},
}


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_estimates_are_those_of_attention(host, small, library, form, case, correlated):
    """Mean and precision of steps of several sizes, of queries that share keys."""
    backend, options = host(library), dict(CASES[case])
    array, sde = backend.from_numpy, model(backend.from_numpy, form)
    tokens = [normal(2, each, TOKENS, 4, seed=each + 1) for each in (HEADS, 1, 1)]
    if case == "plain":  # complex modes
        tokens = [x[..., :2] + 1j * x[..., 2:] for x in tokens]
    elif case == "own variance":
        variance = np.abs(normal(2, HEADS, TOKENS))
        of_form = {"diagonal": variance[..., None]}
        of_form["radial_tangential"] = afa.RadialTangential(variance, 2.0 * variance)
        options["query_variance"] = of_form.get(form, variance)
    steps = decode(array, tokens, sde, [1, 4, 7], correlated=correlated, **options)
    assert small == [1, 4, 7]
    every = slice(None)
    times, mask, variance = (
        per_token(options.pop(name, None), every, array)
        for name in ("times", "mask", "query_variance")
    )
    whole = {"query_times": times, "key_times": times, "query_variance": variance}
    whole["mask"] = None if mask is None else mask[..., None, :]
    expected = afa.estimate(
        *map(array, tokens), sde, correlated=correlated, implementation="reference",
        **whole, **options,
    )  # fmt: skip
    of_steps = numbers(backend, *steps, form)
    of_attention = numbers(backend, [expected.mean], [expected.precision], form)
    for found, exact in zip(of_steps, of_attention, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_tokens_that_evict_has_kept(small, form):
    """The influence of the tokens that are left is that which they had among all."""
    sde, (query, key, value) = model(np.asarray, form), normal(3, HEADS, 60, 4)
    cache = afa.DecodeCache.of(key[:, :50], value[:, :50], sde, correlated=True)
    kept = afa.evict(cache, sde, 0.3)
    assert kept.used < 50
    rest, options = [x[:, 50:] for x in (query, key, value)], {"correlated": True}
    in_tiles, _ = afa.decode_step(*rest, sde, kept, **options)
    single = []
    for place in range(10):
        own = (x[:, place : place + 1] for x in rest)
        row, kept = afa.decode_step(*own, sde, kept, **options)
        single.append(row)
    np.testing.assert_allclose(in_tiles, np.concatenate(single, axis=1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-6, 0.2])
def test_far_keys_are_left_out_below_the_bound(small, tolerance):
    """What early exit leaves out of a long step changes it by at most 2τ max‖v‖."""
    noise = afa.Noise(np.asarray([1e-4, 0.5, 5.0]), 1.0, 0.5)
    sde, (query, key, value) = afa.IsotropicSDE(0.01, 0.3, noise), normal(3, HEADS, 300, 4)
    value[:, :250] *= 1e6
    steps = (
        decode(np.asarray, (query, key, value), sde, [280, 20], correlated=True, tolerance=each)
        for each in (0.0, tolerance)
    )
    exact, found = (means[1] for means, _ in steps)
    error = np.max(np.linalg.norm(found - exact, axis=-1))
    assert 0.0 < error <= 2.0 * tolerance * np.max(np.linalg.norm(value, axis=-1))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("correlated", [False, True])
def test_pairs_of_a_long_piece_are_not_in_memory(runs, correlated, masked):
    """By default a long piece is evaluated in tiles, a short one and a token at once."""
    sde, (query, key, value) = model(np.asarray, "isotropic"), normal(3, HEADS, 6000, 4)
    pieces = [slice(0, 4000), slice(4000, 5999), slice(5999, 6000)]
    mask = np.ones((HEADS, 6000), bool) if masked else None
    kinds = {"correlated": correlated, "mask": mask}
    cache = afa.DecodeCache.empty(key, value, sde, capacity=6000, **kinds)
    afa.decode_step(*(x[:, :1500] for x in (query, key, value)), sde, cache, correlated=correlated)
    runs.clear()
    tracemalloc.start()
    for piece in pieces:
        own = (x[:, piece] for x in (query, key, value))
        kinds["mask"] = None if mask is None else mask[:, piece]
        _, cache = afa.decode_step(*own, sde, cache, **kinds)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert runs == [4000, 1999]
    assert peak < 2 * 4000 * 4000  # bytes: not even a mask of all pairs beside the tiles


def test_a_long_cache_left_early_is_not_read_by_a_short_piece(runs):
    """Some tokens do with the nearest keys of a long cache, of which tiles would read every one."""
    sde, (query, key, value) = model(np.asarray, "isotropic"), normal(3, HEADS, 9000, 4)
    cache = afa.DecodeCache.of(key, value, sde, correlated=True)
    for count in (63, 64):
        own = (x[:, :count] for x in (query, key, value))
        afa.decode_step(*own, sde, cache, correlated=True)
    assert runs == [64]


def scaled_steps(torch):
    """A function of a factor of the last 699 tokens, and what it is of."""
    sde = model(torch.asarray, "isotropic")
    x = torch.asarray(normal(HEADS, 700, 4))
    cache = afa.DecodeCache.of(x[:, :1], x[:, :1], sde)

    def total(scale, variance=None):
        own = (scale * each[:, 1:] for each in (x, x, x))
        return afa.decode_step(*own, sde, cache, query_variance=variance)[0].square().sum()

    return total, torch.ones((), dtype=x.dtype)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # of jvp itself
@pytest.mark.parametrize("of", ["tokens", "variance"])
def test_derivatives_that_tiles_lack(torch, runs, of):
    """Second derivatives and tangents go through a long step, in which all pairs are formed."""
    total, one = scaled_steps(torch)
    rows = torch.ones(699, dtype=one.dtype)
    function = total if of == "tokens" else lambda scale: total(1.0, scale * rows)
    torch.func.jvp(function, (one,), (one,))
    scale = one.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(scale), scale, create_graph=True)
    torch.autograd.grad(slope, scale)
    assert runs == []
    function(one)
    assert runs == [699]


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # of jvp itself
def test_tangents_where_pytorch_compiles(torch):
    """Tangents, which tiles lack, cannot be seen while a step is compiled: all pairs are formed."""
    total, one = scaled_steps(torch)

    def slope(scale):
        return torch.func.jvp(total, (scale,), (one,))[1]

    compiled = torch.compile(slope, backend="eager")
    torch.testing.assert_close(compiled(one), slope(one))


def test_exported_steps_are_of_standard_operators(torch):
    """A program of a long step, of any number of tokens, loads where the library is not."""
    sde = model(torch.asarray, "isotropic")
    x = torch.asarray(normal(HEADS, 700, 4))
    cache = afa.DecodeCache.of(x[:, :1], x[:, :1], sde)

    class Step(torch.nn.Module):
        def forward(self, new, time):
            return afa.decode_step(new, new, new, sde, cache, time=time)[0]

    time, count = 1.0 + torch.arange(699, dtype=x.dtype), torch.export.Dim("n", min=2, max=4096)
    shapes = {1: count}, {0: count}
    program = torch.export.export(Step(), (x[:, 1:].clone(), time), dynamic_shapes=shapes)
    assert not [node for node in program.graph.nodes if "afa" in str(node.target)]
    short = x[:, 1:6].clone(), time[:5].clone()
    torch.testing.assert_close(program.module()(*short), Step()(*short))


def test_steps_of_any_number_of_tokens_are_exported(host):
    """JAX exports one program for all numbers of new tokens."""
    jax = pytest.importorskip("jax")
    array = host("jax").from_numpy
    sde, x = model(array, "isotropic"), array(normal(HEADS, 60, 4))
    times = array(np.arange(60.0))
    cache = afa.DecodeCache.empty(x, x, sde, capacity=100, times=times)
    step = jax.jit(lambda x, times: afa.decode_step(x, x, x, sde, cache, time=times)[0])
    (count,) = jax.export.symbolic_shape("n", constraints=["n >= 2", "n <= 100"])
    shapes = ((HEADS, count, 4), x.dtype), ((count,), times.dtype)
    program = jax.export.export(step)(*(jax.ShapeDtypeStruct(*each) for each in shapes))
    np.testing.assert_allclose(program.call(x, times), step(x, times), rtol=1e-5, atol=1e-6)
