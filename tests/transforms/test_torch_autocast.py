"""`torch.autocast` leaves the precision of attention as it is."""

import pytest

import afa_core as afa

from .problems import model, tokens

IMPLEMENTATIONS = ("reference", "streaming", "linear", "fused")
OPERATIONS = (*IMPLEMENTATIONS, "steps", "ring")


def operation(name, torch):
    """Return attention of (query, key, value) by an implementation, steps or a ring."""
    sde = model("isotropic", lambda x: torch.asarray(x, dtype=torch.float32))
    if name == "ring":
        return lambda *x: pytest.importorskip("afa_torch").ring_attention(*x, sde)
    if name == "steps":

        def steps(*x):
            cache, outputs = afa.DecodeCache.empty(*(each[:1] for each in x[1:]), sde), []
            for new in zip(*(each.split(1, dim=-2) for each in x), strict=True):
                output, cache = afa.decode_step(*new, sde, cache)
                outputs.append(output)
            return torch.cat(outputs, dim=-2)

        return steps
    weighting = afa.Uniform() if name == "linear" else afa.StudentT(4.0)
    return lambda *x: afa.attention(*x, sde, weighting=weighting, implementation=name)


@pytest.fixture
def single_rank(torch):
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", OPERATIONS)
def test_results_and_gradients_are_the_same(name, torch, request):
    if name == "ring":
        request.getfixturevalue("single_rank")
    if name == "fused":
        pytest.importorskip("numba")
    run = operation(name, torch)
    x = [each.float() + 10.0 for each in tokens(torch.asarray, n=20)]
    leaves = [each.clone().requires_grad_() for each in x]

    def gradients_of(output):
        return torch.autograd.grad(output.sum(), leaves, materialize_grads=True)

    expected = run(*leaves)
    gradients = gradients_of(expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        without = run(*x)
        found = run(*leaves)
        # derivatives of PyTorch itself are taken outside, as it advises; those of tiles, in full
        by_tiles = name not in ("reference", "linear", "steps")
        own = gradients_of(found) if by_tiles else None
    own = gradients_of(found) if own is None else own
    for a, b in zip((without, found, *own), (expected, expected, *gradients), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_compiles_in_one_graph(torch):
    run = operation("reference", torch)
    x = [each.float() + 10.0 for each in tokens(torch.asarray)]
    compiled = torch.compile(run, fullgraph=True, backend="eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = compiled(*x)
    torch.testing.assert_close(found, run(*x), rtol=1e-5, atol=1e-5)
