"""What gloo ranks find beside one process alone; prints errors as JSON."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from problems import Problem, arguments, errors, hidden, leaves, spoilt

import afa_core as afa
from afa_core.distributed.ring import traffic
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
        Problem(f"{form} tempered", form, dof="array", tempered=True, masked="left")
        for form in FORMS
    ),
    *(Problem(f"{form} gaussian", form, weighting="Gaussian", times="tied") for form in FORMS),
    *(Problem(f"{form} rational", form, weighting="Rational", dof="array") for form in FORMS),
    *(Problem(f"{form} uniform", form, weighting="Uniform", masked="left") for form in FORMS),
    *(Problem(f"{form} float32", form, dtype="float32") for form in FORMS),
    Problem("tempered uniform", weighting="Uniform", tempered=True, causal=False),
    Problem("grouped", grouped=True, masked="left"),
    Problem("fewer tokens than ranks", tokens=3, causal=False),
    *(Problem(f"{form} units", form, dof=8.0, scales=(1.0, 1e4, 1e-4, 10.0)) for form in FORMS),
    *(Problem(f"{form} ranges", form, dof=8.0, scales=(1.0, 1e30, 1.0)) for form in FORMS),
]


def compared(p):
    """Return the errors of the estimate and of all gradients, by name."""
    ours, alone = (
        {name: torch.asarray(x).requires_grad_() for name, x in spoilt(p, leaves(p)).items()}
        for _ in range(2)
    )
    seen = None if hidden(p) is None else torch.asarray(hidden(p))
    tokens, others = arguments(p, alone)
    mask = None if seen is None else seen[..., None, :]
    exact = flat(afa.estimate(**tokens, **others, mask=mask, implementation="reference"))
    axes = [-2, *(-2 if p.form == "diagonal" else -1 for _ in exact[1:])]

    def cut(x, axis):
        return shard(x, axis, causal=p.causal)

    tokens, others = arguments(p, ours)
    tokens = {name: cut(x, -1 if "times" in name else -2) for name, x in tokens.items()}
    real = torch.ones(p.tokens, dtype=torch.bool)
    if seen is not None or not p.causal:
        others["key_mask"] = cut(real if seen is None else seen, -1)
    shares = flat(ring_estimate(**tokens, **others, tile=2))

    rng, loss, losses = np.random.default_rng(7), 0.0, 0.0
    for whole, share, axis in zip(exact, shares, axes, strict=True):
        by = torch.asarray(rng.standard_normal(tuple(whole.shape)))
        kept = cut(real, 0).reshape(-1, *(1,) * (-axis - 1))
        loss = loss + (whole * by).sum()
        losses = losses + torch.where(kept, share * cut(by, axis), 0.0).sum()
    loss.backward()
    losses.backward()
    sum_gradients(ours.values())
    found = [
        unshard(x, x.ndim + axis, p.tokens, causal=p.causal)
        for x, axis in zip(shares, axes, strict=True)
    ]
    names = ("mean", "precision", "tangential precision")
    return errors(
        p,
        dict(zip(names, (x.detach() for x in exact), strict=False))
        | {f"by {name}": x.grad for name, x in alone.items()},
        dict(zip(names, found, strict=False)) | {f"by {name}": x.grad for name, x in ours.items()},
    )


def flat(estimate):
    precision = estimate.precision
    return [estimate.mean, *(precision if isinstance(precision, tuple) else (precision,))]


def across(_):
    """Compare queries with keys in another number, at times of whole numbers, on a mesh."""
    p = Problem("across", tokens=16, causal=False)
    found = {name: torch.asarray(x) for name, x in leaves(p).items()}
    tokens, others = arguments(p, found)
    tokens["query"] = tokens["query"][..., :8, :]
    times = {"query_times": 10**12 + torch.arange(8), "key_times": 10**12 + 2 * torch.arange(16)}
    exact = afa.attention(**tokens, **others, **times, implementation="reference")
    mesh = dist.init_device_mesh("cpu", (RANKS,), mesh_dim_names=("ring",))

    def cut(name, x):
        return shard(x, -1 if "times" in name else -2, mesh=mesh, causal=False)

    own = {name: cut(name, x) for name, x in (tokens | times).items()}
    share = ring_attention(**own, **others, mesh=mesh["ring"])
    whole = unshard(share, share.ndim - 2, 8, mesh=mesh, causal=False)
    return errors(p, {"mean": exact}, {"mean": whole})


def layers(_):
    """Compare layers whose sequence is cut along a mesh, gradients of their parameters too."""
    mesh, found, exact = dist.init_device_mesh("cpu", (RANKS,)), {}, {}
    tokens = torch.asarray(np.random.default_rng(3).standard_normal((2, 21, 8)))
    real = torch.arange(21) < torch.tensor([[21], [17]])
    for form in FORMS:
        torch.manual_seed(0)
        layer = AdaptiveFilterAttention(8, 2, form=form, gated=True, dtype=torch.float64)
        whole, _ = layer(tokens, key_mask=real)
        names = [name for name, _ in layer.named_parameters()]
        exact |= {f"layer {form}": whole.detach()} | dict(
            zip(
                (f"layer {form} by {name}" for name in names),
                torch.autograd.grad(whole[real].square().sum(), layer.parameters()),
                strict=True,
            )
        )
        own, kept = shard(tokens, 1, mesh=mesh), shard(real, 1, mesh=mesh)
        share, _ = layer(own, key_mask=kept, mesh=mesh)
        counted = kept & shard(torch.ones(21, dtype=torch.bool), 0, mesh=mesh)
        torch.where(counted[..., None], share, 0.0).square().sum().backward()
        sum_gradients(layer.parameters(), mesh=mesh)
        found |= {f"layer {form}": unshard(share, 1, 21, mesh=mesh)} | {
            f"layer {form} by {name}": x.grad for name, x in layer.named_parameters()
        }
    return errors(Problem("layers"), exact, found)


def sent(_):
    """Return the bytes that this rank sends there and back, and those it ought to."""
    p, counted, send = Problem("sent", tokens=24, masked="left"), [0], dist.batch_isend_irecv

    def counting(operations):
        counted[0] += sum(each.tensor.nbytes for each in operations if each.op is dist.isend)
        return send(operations)

    found = {name: torch.asarray(x).requires_grad_() for name, x in leaves(p).items()}
    tokens, others = arguments(p, found)
    tokens = {name: shard(x, -2) for name, x in tokens.items()}
    key_mask = shard(torch.asarray(hidden(p)), -1)
    dist.batch_isend_irecv = counting
    try:
        mean = ring_attention(**tokens, **others, key_mask=key_mask)
        there = counted[0]
        mean.sum().backward()
    finally:
        dist.batch_isend_irecv = send
    shapes = (tuple(tokens[name].shape) for name in ("key", "value"))
    told = traffic(RANKS, *shapes, 8, times=(2, 1, 6), key_mask=(2, 1, 6))
    return {"sent": [there, counted[0] - there], "told": list(told)}


def refused(rank):
    """Return what is said to arguments that do not fit, rank by rank or each other."""
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
        "chunks": lambda: ring_attention(x[:, :3], x[:, :3], x[:, :3], sde),
        "mask": lambda: ring_attention(x, x, x, sde, key_mask=torch.ones(4)),
        "option": lambda: ring_attention(x, x, x, sde, mask=torch.ones(4, 4) > 0),
        "mesh": lambda: ring_attention(
            x, x, x, sde, mesh=dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))
        ),
    }
    said = {}
    for name, call in calls.items():
        try:
            call()
            said[name] = "nothing"
        except (TypeError, ValueError) as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def rank_of(rank, place, problems):
    """Be one rank, and write what was found."""
    torch.set_num_threads(1)
    store = f"file://{place}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    found = {"errors": {}}
    for p in problems:
        found["errors"] |= compared(p)
    found["errors"] |= across(rank) | layers(rank)
    found |= {"sent": sent(rank), "refused": refused(rank)}
    (Path(place) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        mp.spawn(rank_of, (place, PROBLEMS), RANKS)
        told = [json.loads((Path(place) / f"{rank}.json").read_text()) for rank in range(RANKS)]
    json.dump(told, sys.stdout)
