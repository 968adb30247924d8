"""Attention over tiles: under what libraries do to functions, its memory, its single precision."""

import re
import tracemalloc
from itertools import product

import numpy as np
import pytest

import afa_core as afa
from afa_core._array.masks import Visibility
from afa_core.streaming.blocks import Sizes, order_of_places, query_blocks

FORMS = ("isotropic", "radial_tangential", "diagonal")


def given(array, form="isotropic", n=40, leading=(2, 3), modes=2, seed=0, dtype="float64"):
    """The arguments of attention with arrays for everything, and a mask."""
    rng = np.random.default_rng(seed)
    heads = leading[-1:]
    parameters = (*heads, modes) if form == "diagonal" else heads
    tokens = {
        name: array(rng.standard_normal((*leading, n, 2 * modes)).astype(dtype))
        for name in ("query", "key", "value")
    }

    def noise():
        return afa.Noise(*(array(rng.uniform(0.3, 1.0, parameters).astype(dtype)) for _ in "σηγ"))

    decay = array(rng.uniform(0.0, 0.3, parameters).astype(dtype))
    frequency = array(rng.standard_normal((*heads, modes)).astype(dtype))
    if form == "radial_tangential":
        sde = afa.RadialTangentialSDE(decay, frequency, noise(), noise())
    else:
        sde = (afa.DiagonalSDE if form == "diagonal" else afa.IsotropicSDE)(
            decay, frequency, noise()
        )
    seen = rng.uniform(size=(*leading[:1], 1, n, n)) < 0.8
    return tokens | {"sde": sde, "mask": array(seen)}


def parameters_of(sde):
    """All arrays of decay and noise."""
    return [sde.decay, *(x for each in sde if isinstance(each, afa.Noise) for x in each)]


def with_parameters(sde, parameters):
    """The model with other arrays of decay and noise."""
    noises = [name for name in sde._fields if isinstance(getattr(sde, name), afa.Noise)]
    starts = range(1, len(parameters), 3)
    parts = (afa.Noise(*parameters[start : start + 3]) for start in starts)
    return sde._replace(decay=parameters[0], **dict(zip(noises, parts, strict=True)))


@pytest.fixture(params=FORMS)
def leaves(torch, request):
    """Arguments whose tokens and parameters want gradients, and these."""
    arguments = given(torch.asarray, request.param, n=12)
    found = [arguments[name] for name in ("query", "key", "value")]
    found += parameters_of(arguments["sde"])
    for x in found:
        x.requires_grad_()
    return arguments, found


def run(arguments, implementation="streaming", **options):
    chosen = {"tile": 3} if implementation == "streaming" else {}
    return afa.estimate(**arguments, **chosen, **options, implementation=implementation)


def outputs(result):
    several = isinstance(result.precision, tuple)
    return [result.mean, *(result.precision if several else [result.precision])]


def loss(result):
    mean, *precisions = outputs(result)
    return (mean**2).sum() + sum(each.sum() for each in precisions)


def gradients(torch, arguments, found, implementation="streaming", function=run):
    return torch.autograd.grad(loss(function(arguments, implementation)), found)


# dynamo makes an instance of the function that it follows, which torch deprecates
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_compiles_it_in_one_graph(torch, leaves):
    arguments, found = leaves
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    expected = run(arguments, "reference")
    torch.testing.assert_close(compiled(arguments), expected, rtol=1e-12, atol=1e-14)
    own = gradients(torch, arguments, found, function=compiled)
    for a, b in zip(own, gradients(torch, arguments, found, "reference"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_torch_checks_its_gradients(torch, leaves):
    arguments, _ = leaves
    query, decay = arguments["query"], arguments["sde"].decay

    def function(query, decay):
        sde = arguments["sde"]._replace(decay=decay)
        return tuple(outputs(run(arguments | {"query": query, "sde": sde})))

    assert torch.autograd.gradcheck(function, (query, decay), fast_mode=True)


@pytest.mark.parametrize("form", FORMS)
def test_torch_func_differentiates_and_maps_it(torch, form):
    arguments = given(torch.asarray, form, n=7)

    def total(query, mask, implementation="streaming"):
        one = {name: arguments[name][0] for name in ("key", "value")}
        return loss(run(arguments | one | {"query": query, "mask": mask}, implementation))

    query, mask = arguments["query"], arguments["mask"]
    mapped = torch.func.vmap(torch.func.grad(total))(query, mask)
    for own, x, seen in zip(mapped, query, mask, strict=True):
        expected = torch.func.grad(lambda x, seen: total(x, seen, "reference"))(x, seen)
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)
    shared = torch.func.vmap(total, in_dims=(0, None))(query, mask[0])
    assert shared.shape == query.shape[:1]
    torch.testing.assert_close(shared[0], total(query[0], mask[0], "reference"))


@pytest.mark.parametrize("form", FORMS)
def test_torch_gives_results_that_no_later_call_changes(torch, form):
    def results(seed):
        own = given(torch.asarray, form, seed=seed)
        own["value"].requires_grad_()
        found = afa.estimate(**own, implementation="streaming", tile=8)
        (gradient,) = torch.autograd.grad(found.mean.square().sum(), own["value"])
        return [found.mean.detach(), gradient]

    first = results(0)
    kept = [x.clone() for x in first]
    with torch.inference_mode():
        afa.estimate(**given(torch.asarray, form, seed=1), implementation="streaming", tile=8)
    results(2)
    assert all(torch.equal(x, y) for x, y in zip(first, kept, strict=True))


def test_torch_has_no_second_derivative_and_says_so(torch, leaves):
    arguments, found = leaves
    (slope,) = torch.autograd.grad(loss(run(arguments)), found[:1], create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivative\. Pass implementation='ref"):
        slope.sum().backward()


@pytest.mark.parametrize("form", FORMS)
def test_meta_arrays_have_shapes(torch, form):
    result = run(given(lambda x: torch.asarray(x, device="meta"), form, n=9))
    assert result.mean.shape == (2, 3, 9, 4)
    sets = result.precision if form == "radial_tangential" else (result.precision,)
    shape = (2, 3, 9, 2) if form == "diagonal" else (2, 3, 9)
    assert all(each.shape == shape and each.device.type == "meta" for each in sets)


@pytest.fixture
def jax(host):
    host("jax")
    return pytest.importorskip("jax")


def close(jax, found, expected):
    leaves = (jax.tree.leaves(each) for each in (found, expected))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_jax_compiles_and_differentiates_it(jax):
    """Ten queries in threes and eleven keys in sixes; in one head time goes backward."""
    arguments = given(jax.numpy.asarray, n=11)
    ahead = jax.numpy.asarray([[1.0], [-1.0], [1.0]])
    arguments["key_times"] = ahead * jax.numpy.cumsum(abs(arguments["key"][..., 0]), axis=-1)
    arguments["query_times"] = arguments["key_times"][..., 1:] + 0.01
    arguments["query"] = arguments["query"][..., 1:, :]
    options = {"mask": arguments.pop("mask")[..., 1:, :], "causal": False}

    def slope(arguments, implementation):
        def total(arguments):
            return loss(run(arguments, implementation, **options, weighting=afa.Rational()))

        return jax.value_and_grad(total)(arguments)

    compiled = jax.jit(slope, static_argnums=1)
    close(jax, compiled(arguments, "streaming"), compiled(arguments, "reference"))


def test_jax_maps_its_gradients(jax):
    arguments = given(jax.numpy.asarray, n=7)
    shared = {name: arguments.pop(name) for name in ("sde", "mask")}

    def mapped(arguments, implementation):
        def total(arguments, mask):
            given = arguments | {"sde": shared["sde"], "mask": mask}
            return loss(run(given, implementation, weighting=afa.Rational()))

        return jax.vmap(jax.grad(total))(arguments, shared["mask"])

    compiled = jax.jit(mapped, static_argnums=1)
    close(jax, compiled(arguments, "streaming"), compiled(arguments, "reference"))


def test_jax_differentiates_its_gradients_forward_alone(jax):
    arguments = given(jax.numpy.asarray, n=5, leading=(1,), modes=1)
    arguments["weighting"] = afa.Rational()
    query = arguments["query"]

    def slope(query, implementation="streaming"):
        return jax.grad(lambda x: loss(run(arguments | {"query": x}, implementation)))(query)

    close(
        jax,
        jax.jvp(slope, (query,), (query,)),
        jax.jvp(lambda x: slope(x, "reference"), (query,), (query,)),
    )
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.grad(lambda x: slope(x).sum())(query)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: run(arguments | {"query": x}).mean, (query,), (query,))


@pytest.mark.parametrize("causal", [True, False])
def test_jax_compiles_one_program_for_any_length(jax, causal):
    """As long a text for 4 tiles as for 64, and no array of all pairs in it."""

    def text(n):
        arguments = given(jax.numpy.asarray, n=n, leading=(1,))
        del arguments["mask"]

        def total(query):
            return loss(run(arguments | {"query": query}, causal=causal))

        return jax.jit(jax.grad(total)).lower(arguments["query"]).as_text()

    short, long = text(12), text(192)
    assert short.count("\n") == long.count("\n")
    assert re.search(r"192x192x", long) is None


def test_a_time_that_is_not_known_shows_to_who_sees_it_alone(library, call):
    arguments = given(library.from_numpy, n=8, leading=(1,))
    times, seen = np.arange(8.0), np.ones((8, 8), dtype=bool)
    times[1] = np.nan
    seen[[1, 5, 7], 1] = False
    arguments |= {
        "mask": library.from_numpy(seen),
        "key_times": library.from_numpy(times),
        "query_times": library.from_numpy(np.arange(8.0) + 0.1),
    }
    with np.errstate(invalid="ignore"):
        result = call(run, arguments)
    known = [np.isfinite(library.to_numpy(x)) for x in (result.mean[..., 0], result.precision)]
    for each in known:
        np.testing.assert_array_equal(each, [[True, True, False, False, False, True, False, True]])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(40, 40), (33, 40), (40, 33), (7, 50), (50, 7)])
def test_tiles_are_seen_one_time_long(queries, keys, causal):
    """What is kept of a tile may go with the last panel that sees it."""
    gone, before, covered = set(), set(), []
    visibility = Visibility(queries, keys, causal, None)
    for rows, found in query_blocks(visibility, Sizes(4, 12), order_of_places(visibility)):
        gone |= before - set(found)
        before = set(found)
        assert not gone & before
        covered.append((rows, sorted(each for step in found for each in step.columns)))
    for rows, columns in covered:
        last = min(max(rows.stop + keys - queries, 0), keys)
        assert columns == list(range(last if causal else keys))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_memory_grows_as_the_tokens(host, form, causal):
    """Twice the tokens take twice the memory, where pairs would take four times."""
    host("numpy")

    def peak(n):
        arguments = given(np.asarray, form, n=n, leading=(1,), modes=4, dtype="float32")
        del arguments["mask"]
        tracemalloc.start()
        afa.attention(**arguments | {"causal": causal}, implementation="streaming", tile=64)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(1024), peak(2048)
    assert large < 2.3 * small
    assert large < 2048**2 * 4 / 2  # half an array of pairs


@pytest.mark.parametrize("form", FORMS)
def test_weights_out_of_range_compare(host, form):
    """Powers of weights that would vanish in single precision give way to logarithms."""
    host("numpy")
    arguments = given(np.asarray, form, dtype="float32")
    arguments["query"] = 1e6 * arguments["query"]
    mean = run(arguments).mean
    assert np.abs(mean).max() > 0.1
    np.testing.assert_allclose(mean, run(arguments, "reference").mean, rtol=0.0, atol=2e-5)


SPAN = 600
LENGTHS = (1e-6, 1e-3, 1.0, 30.0, 5000.0)


@pytest.mark.parametrize(
    ("name", "form", "length", "weighting"),
    [
        *product(["torch"], FORMS, LENGTHS, [afa.Rational(4.0), afa.StudentT(4.0), afa.Gaussian()]),
        *product(["jax"], FORMS[:1], LENGTHS[::4], [afa.StudentT(4.0)]),
    ],
)
def test_single_precision(name, form, length, weighting, host):
    """Outputs to 2e-6 and gradients to 2e-5, for every product of decay and span."""
    backend = host(name)

    def case(dtype, implementation):
        def array(x):
            return backend.from_numpy(np.asarray(x, dtype))

        arguments = given(array, form, n=SPAN, leading=(1,), modes=8)
        del arguments["mask"]
        found = [arguments.pop(name) for name in ("query", "key", "value")]
        sde = arguments.pop("sde")
        shape = tuple(sde.decay.shape)
        values = [length / SPAN, *((0.05, 0.7, 0.9) if form == "radial_tangential" else ())]
        found += [array(np.full(shape, x)) for x in (*values, 0.02, 1.0, 0.5)]

        def estimate(query, key, value, *parameters):
            changed = with_parameters(sde, parameters)
            chosen = {"weighting": weighting, "implementation": implementation}
            return afa.estimate(query, key, value, changed, **chosen)

        results = outputs(estimate(*found)), backend.grad(lambda *x: loss(estimate(*x)), *found)
        return [[np.float64(backend.to_numpy(x)) for x in each] for each in results]

    exact, own = case("float64", "reference"), case("float32", "streaming")
    for tolerance, found, expected in zip((2e-6, 2e-5), own, exact, strict=True):
        for a, b in zip(found, expected, strict=True):
            assert abs(a - b).max() <= tolerance * abs(b).max()
