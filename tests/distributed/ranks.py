"""Compare four gloo ranks with one process; print the errors as JSON, one object a rank."""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from problems import (
    Problem,
    arguments_of,
    draw_leaves,
    key_mask_of,
    map_tokens,
    relative_errors,
    with_hidden_nan,
)
from torch.nn.parallel import DistributedDataParallel

import afa_core as afa
from afa_core.distributed import traffic
from afa_torch.layer import AdaptiveFilterAttention
from afa_torch.ring import ring_attention, ring_estimate, shard, sum_gradients, unshard

RANKS = 4
FORMS = ("isotropic", "diagonal", "radial_tangential")
PROBLEMS = [
    *(Problem(f"{form} causal", form) for form in FORMS),
    *(
        Problem(f"{form} masked", form, causal=False, masked="right", times="irregular", tokens=21)
        for form in FORMS
    ),
    *(
        Problem(f"{form} temperature", form, dof="array", has_temperature=True, masked="left")
        for form in FORMS
    ),
    Problem("gaussian", "diagonal", weighting="Gaussian", times="tied"),
    Problem("rational", "radial_tangential", weighting="Rational", dof="array", times="tied"),
    Problem("uniform", weighting="Uniform", masked="left", times="tied"),
    Problem("float32", dtype="float32"),
    Problem("uniform with temperature", weighting="Uniform", has_temperature=True, causal=False),
    Problem("grouped", grouped=True, masked="left"),
    Problem("fewer tokens than ranks", tokens=3, causal=False),
    *(
        Problem(f"{form} key scales", form, dof=8.0, key_scales=(1.0, 1e4, 1e-4, 10.0))
        for form in FORMS
    ),
    *(
        Problem(f"{form} correlated", form, correlated=True, times="tied", masked="left")
        for form in ("isotropic", "radial_tangential")
    ),
    *(
        Problem(f"{form} correlated on both sides", form, correlated=True, causal=False, **rest)
        for form, rest in (
            ("isotropic", {"times": "irregular", "masked": "right", "has_temperature": True}),
            ("diagonal", {"times": "irregular", "masked": "right"}),
            ("radial_tangential", {"weighting": "Uniform"}),
        )
    ),
    Problem("correlated", "diagonal", weighting="Rational", correlated=True, tokens=19),
    *(Problem(f"{form} huge keys", form, dof=8.0, key_scales=(1.0, 1e30, 1.0)) for form in FORMS),
]


def errors_of(problem):
    """Return the errors of the estimate and of all gradients, by name."""
    leaves = with_hidden_nan(problem, draw_leaves(problem))
    ring_leaves, leaves = (
        {name: torch.asarray(x).requires_grad_() for name, x in leaves.items()} for _ in range(2)
    )
    key_mask = key_mask_of(problem)
    key_mask = None if key_mask is None else torch.asarray(key_mask)
    tokens, others = arguments_of(problem, leaves)
    mask = None if key_mask is None else key_mask[..., None, :]
    exact = flat(afa.estimate(**tokens, **others, mask=mask, implementation="reference"))
    axes = [-2, *(-2 if problem.form == "diagonal" else -1 for _ in exact[1:])]

    def cut(x, axis):
        return shard(x, axis, causal=problem.causal)

    tokens, others = arguments_of(problem, ring_leaves)
    tokens = map_tokens(cut, problem, tokens)
    real = torch.ones(problem.tokens, dtype=torch.bool)
    if key_mask is not None or not problem.causal:
        others["key_mask"] = cut(real if key_mask is None else key_mask, -1)
    shards = flat(ring_estimate(**tokens, **others, tile=2))

    rng, loss, ring_loss = np.random.default_rng(7), 0.0, 0.0
    for whole, own, axis in zip(exact, shards, axes, strict=True):
        grad = torch.asarray(rng.standard_normal(tuple(whole.shape)))
        own_real = cut(real, 0).reshape(-1, *(1,) * (-axis - 1))
        loss = loss + (whole * grad).sum()
        ring_loss = ring_loss + torch.where(own_real, own * cut(grad, axis), 0.0).sum()
    loss.backward()
    ring_loss.backward()
    sum_gradients(ring_leaves.values())
    found = [
        unshard(x, x.ndim + axis, problem.tokens, causal=problem.causal)
        for x, axis in zip(shards, axes, strict=True)
    ]
    return relative_errors(
        problem,
        named(x.detach() for x in exact) | gradients_of(leaves),
        named(found) | gradients_of(ring_leaves),
    )


def flat(estimate):
    precision = estimate.precision
    return [estimate.mean, *(precision if isinstance(precision, tuple) else (precision,))]


def named(results):
    names = ("mean", "precision", "tangential precision")
    return dict(zip(names, results, strict=False))


def gradients_of(leaves):
    return {f"by {name}": x.grad for name, x in leaves.items()}


def different_numbers():
    """Compare queries with keys in another number, at times that are integers, on a mesh."""
    problem = Problem("different numbers", tokens=16, causal=False)
    leaves = {name: torch.asarray(x) for name, x in draw_leaves(problem).items()}
    tokens, others = arguments_of(problem, leaves)
    tokens["query"] = tokens["query"][..., :8, :]
    start = 17 * 10**17 + 1  # nanoseconds since 1970, which float64 rounds to 256
    times = {"query_times": start + torch.arange(8), "key_times": start + 2 * torch.arange(16)}
    exact = afa.attention(**tokens, **others, **times, implementation="reference")
    mesh = dist.init_device_mesh("cpu", (RANKS,), mesh_dim_names=("ring",))

    def cut(name, x):
        return shard(x, -1 if "times" in name else -2, mesh=mesh, causal=False)

    own = {name: cut(name, x) for name, x in (tokens | times).items()}
    mean = ring_attention(**own, **others, mesh=mesh["ring"])
    whole = unshard(mean, mean.ndim - 2, 8, mesh=mesh, causal=False)
    return relative_errors(problem, {"mean": exact}, {"mean": whole})


def layers():
    """Compare layers whose sequence is divided along a mesh, with gradients of parameters."""
    mesh, found, exact = dist.init_device_mesh("cpu", (RANKS,)), {}, {}
    tokens = torch.asarray(np.random.default_rng(3).standard_normal((2, 21, 8)))
    key_mask = torch.arange(21) < torch.tensor([[21], [17]])
    for form in FORMS:
        torch.manual_seed(0)
        options = {"form": form, "gated": True, "correlated": form == "isotropic"}
        layer = AdaptiveFilterAttention(8, 2, **options, dtype=torch.float64)
        whole, _ = layer(tokens, key_mask=key_mask)
        names = [f"layer {form} by {name}" for name, _ in layer.named_parameters()]
        gradients = torch.autograd.grad(whole[key_mask].square().sum(), layer.parameters())
        exact |= {f"layer {form}": whole.detach()} | dict(zip(names, gradients, strict=True))
        own_mask = shard(key_mask, 1, mesh=mesh)
        output, _ = layer(shard(tokens, 1, mesh=mesh), key_mask=own_mask, mesh=mesh)
        counted = own_mask & shard(torch.ones(21, dtype=torch.bool), 0, mesh=mesh)
        torch.where(counted[..., None], output, 0.0).square().sum().backward()
        sum_gradients(layer.parameters(), mesh=mesh)
        found |= {f"layer {form}": unshard(output, 1, 21, mesh=mesh)} | dict(
            zip(names, (x.grad for x in layer.parameters()), strict=True)
        )
    return relative_errors(Problem("layers"), exact, found)


def data_parallel():
    """Compare gradients of parameters that are averaged over ranks of different tokens."""
    tokens = torch.asarray(np.random.default_rng(4).standard_normal((RANKS, 3, 6, 8)))
    settings = {"normalised": ("query", "key"), "horizon": 0.5, "output": "innovation"}
    exact, found = {}, {}
    for weighting in ("student_t", "uniform"):
        torch.manual_seed(0)
        options = {"weighting": weighting, "gated": True, "dtype": torch.float64, **settings}
        layer = AdaptiveFilterAttention(8, 2, **options)
        names = [f"{weighting} by {name}" for name, _ in layer.named_parameters()]
        losses = [layer(each)[0].square().sum() for each in tokens]
        gradients = torch.autograd.grad(sum(losses) / RANKS, layer.parameters())
        exact |= dict(zip(names, gradients, strict=True))
        parallel = DistributedDataParallel(layer)  # averages in backward, as long as it exists
        for _ in range(2):  # the second step waits for gradients that the first has not had
            layer.zero_grad()
            output, _ = parallel(tokens[dist.get_rank()])
            output.square().sum().backward()
        found |= dict(zip(names, (x.grad for x in layer.parameters()), strict=True))
    return relative_errors(Problem("data parallel"), exact, found)


def sent_bytes(correlated):
    """Return the bytes that this rank sends forward and backward, and what `traffic` predicts."""
    times = "irregular" if correlated else "positions"
    problem = Problem("sent", tokens=24, masked="left", times=times, correlated=correlated)
    leaves = {name: torch.asarray(x).requires_grad_() for name, x in draw_leaves(problem).items()}
    tokens, others = arguments_of(problem, leaves)
    tokens = map_tokens(shard, problem, tokens)
    key_mask = shard(torch.asarray(key_mask_of(problem)), -1)
    count, send = 0, dist.batch_isend_irecv

    def counting(operations):
        nonlocal count
        count += sum(each.tensor.nbytes for each in operations if each.op is dist.isend)
        return send(operations)

    dist.batch_isend_irecv = counting
    try:
        mean = ring_attention(**tokens, **others, key_mask=key_mask)
        forward = count
        mean.sum().backward()
    finally:
        dist.batch_isend_irecv = send
    shapes = (tuple(tokens[name].shape) for name in ("key", "value"))
    options = {"times": (2, 1, 6), "key_mask": (2, 1, 6)}
    if correlated:
        options |= {"level": (2, 3, 6, 1), "query_times": (2, 1, 6)}
    predicted = traffic(RANKS, *shapes, 8, **options)
    return {"sent": [forward, count - forward], "predicted": list(predicted)}


def messages(rank):
    """Return the errors raised by arguments that do not fit each other or differ over ranks."""
    rng = np.random.default_rng(rank)
    sde = afa.IsotropicSDE(0.1, 0.0, afa.Noise(0.1, 1.0, 1.0))
    x = torch.asarray(rng.standard_normal((2, 4, 2)))
    odd = rank == RANKS - 1
    calls = {
        "shapes": lambda: ring_attention(x[:, : 2 if odd else 4], *(x[:, :4],) * 2, sde),
        "dtypes": lambda: ring_attention(x, x, x.float() if odd else x, sde),
        "settings": lambda: ring_attention(x, x, x, sde, weighting=afa.StudentT(3.0 + odd)),
        "models": lambda: ring_attention(x, x, x, sde._replace(decay=0.2) if odd else sde),
        "gradients": lambda: ring_attention(x.clone().requires_grad_(odd), x, x, sde),
        "times": lambda: ring_attention(
            *(x.clone().requires_grad_(), x, x, sde),
            key_times=torch.arange(4.0, requires_grad=odd),
            correlated=True,
        ),
        "chunks": lambda: ring_attention(x[:, :3], x[:, :3], x[:, :3], sde),
        "mask": lambda: ring_attention(x, x, x, sde, key_mask=torch.ones(4)),
        "option": lambda: ring_attention(x, x, x, sde, mask=torch.ones(4, 4) > 0),
        "mesh": lambda: ring_attention(
            x, x, x, sde, mesh=dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))
        ),
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
            found[name] = "nothing"
        except (TypeError, ValueError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def run_rank(rank, folder, problems):
    """Write the results of one rank."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    errors = {}
    for problem in problems:
        errors |= errors_of(problem)
    errors |= different_numbers() | layers() | data_parallel()
    found = {
        "errors": errors,
        "bytes": [*map(sent_bytes, (False, True))],
        "messages": messages(rank),
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a closing interpreter aborts now and then: gloo's threads still free tensors


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        # forked, since each would import PyTorch again if spawned
        mp.start_processes(run_rank, (folder, PROBLEMS), RANKS, start_method="fork")
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(RANKS)]
    json.dump(found, sys.stdout)
