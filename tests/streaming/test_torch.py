"""Autograd, compilation and transforms of PyTorch."""

import re

import pytest

import afa_core as afa

from .problems import FORMS, gradients, loss, outputs, parameters_of, problem, run


@pytest.fixture(params=FORMS)
def leaves(torch, request):
    """Arguments whose tokens and parameters require gradients, and these arrays."""
    arguments = problem(torch.asarray, request.param, n=12)
    found = [arguments[name] for name in ("query", "key", "value")]
    found += parameters_of(arguments["sde"])
    for x in found:
        x.requires_grad_()
    return arguments, found


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
    arguments = problem(torch.asarray, form, n=7)

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
def test_torch_results_do_not_share_buffers(torch, form):
    def results(seed):
        own = problem(torch.asarray, form, seed=seed)
        own["value"].requires_grad_()
        found = afa.estimate(**own, implementation="streaming", tile=8)
        (gradient,) = torch.autograd.grad(found.mean.square().sum(), own["value"])
        return [found.mean.detach(), gradient]

    first = results(0)
    kept = [x.clone() for x in first]
    with torch.inference_mode():
        afa.estimate(**problem(torch.asarray, form, seed=1), implementation="streaming", tile=8)
    results(2)
    assert all(torch.equal(x, y) for x, y in zip(first, kept, strict=True))


# dual numbers compile scripts, which torch deprecates
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torch_refuses_second_derivatives_and_forward_mode(torch, leaves):
    """`torch.func` and dual numbers alike, in the words of `explain`."""
    arguments, found = leaves
    query = arguments["query"].detach()
    why = afa.explain(**arguments, implementation="streaming").derivatives
    assert "implementation='reference'" in why
    assert not afa.explain(**arguments, implementation="reference").derivatives

    def total(query):
        return loss(run(arguments | {"query": query}))

    def in_dual_numbers():
        with torch.autograd.forward_ad.dual_level():
            total(torch.autograd.forward_ad.make_dual(query, query))

    (slope,) = torch.autograd.grad(loss(run(arguments)), found[:1], create_graph=True)
    for refused in (
        slope.sum().backward,
        in_dual_numbers,
        lambda: torch.func.jvp(total, (query,), (query,)),
        lambda: torch.func.jacfwd(total)(query),
        lambda: torch.func.hessian(total)(query),
        lambda: torch.func.jacrev(torch.func.jacrev(total))(query),
    ):
        with pytest.raises(RuntimeError, match=re.escape(why)):
            refused()


# dual numbers compile scripts, which torch deprecates
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_compiled_torch_refuses_forward_mode(torch):
    own = problem(torch.asarray, "isotropic")
    query = own.pop("query")

    def mean(query):
        return afa.attention(query=query, **own, implementation="streaming", tile=8)

    compiled = torch.compile(torch.func.jvp, backend="eager")
    with pytest.raises(RuntimeError, match="none in forward mode"):
        compiled(mean, (query,), (query,))


@pytest.mark.parametrize("form", FORMS)
def test_meta_arrays_have_shapes(torch, form):
    result = run(problem(lambda x: torch.asarray(x, device="meta"), form, n=9))
    assert result.mean.shape == (2, 3, 9, 4)
    precisions = result.precision if form == "radial_tangential" else (result.precision,)
    shape = (2, 3, 9, 2) if form == "diagonal" else (2, 3, 9)
    assert all(each.shape == shape and each.device.type == "meta" for each in precisions)
