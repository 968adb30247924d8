"""Attention over tiles: under what PyTorch does to functions, its memory, its single precision."""

import tracemalloc

import numpy as np
import pytest

import afa_core as afa

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


@pytest.fixture
def torch(host):
    host("torch")
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    return torch


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


@pytest.mark.parametrize("form", FORMS)
def test_memory_grows_as_the_tokens(host, form):
    """Twice the tokens take twice the memory, where pairs would take four times."""
    host("numpy")

    def peak(n):
        arguments = given(np.asarray, form, n=n, leading=(1,), modes=4, dtype="float32")
        del arguments["mask"]
        tracemalloc.start()
        afa.attention(**arguments, implementation="streaming", tile=64)
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighting", [afa.Rational(4.0), afa.StudentT(4.0), afa.Gaussian()])
@pytest.mark.parametrize("length", [1e-6, 1e-3, 1.0, 30.0, 5000.0])
def test_single_precision(torch, form, length, weighting):
    """Outputs to 2e-6 and gradients to 2e-5, for every product of decay and span."""

    def case(dtype):
        arguments = given(torch.asarray, form, n=SPAN, leading=(1,), modes=8, dtype=dtype)
        del arguments["mask"]
        sde = arguments["sde"]

        def filled(values):
            found = (x.expand_as(sde.decay).clone() for x in torch.tensor(values).float())
            return afa.Noise(*(x.to(sde.decay.dtype) for x in found))

        sde = sde._replace(decay=torch.full_like(sde.decay, length / SPAN))
        if form == "radial_tangential":
            sde = sde._replace(radial_noise=filled([0.05, 0.7, 0.9]))
            sde = sde._replace(tangential_noise=filled([0.02, 1.0, 0.5]))
        else:
            sde = sde._replace(noise=filled([0.02, 1.0, 0.5]))
        arguments |= {"sde": sde, "weighting": weighting}
        found = [arguments[name] for name in ("query", "key", "value")]
        found += parameters_of(sde)
        for x in found:
            x.requires_grad_()
        return arguments, found

    double, wide = case("float64")
    single, narrow = case("float32")
    exact, own = run(double, "reference"), afa.estimate(**single, implementation="streaming")
    for a, b in zip(outputs(own), outputs(exact), strict=True):
        assert (a - b).abs().max() <= 2e-6 * b.abs().max()
    back = torch.autograd.grad(loss(own), narrow)
    expected = torch.autograd.grad(loss(exact), wide)
    for a, b in zip(back, expected, strict=True):
        assert (a - b).abs().max() <= 2e-5 * b.abs().max()
