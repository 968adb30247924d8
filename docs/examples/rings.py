"""Measure rings on this machine; write reports/examples/rings.json and the tables of rings.md.

Run it as ``python docs/examples/rings.py``. Every measurement is a process of its own.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1]
REPORT, PAGE = DOCS / "reports" / "examples" / "rings.json", DOCS / "rings.md"

DEVICES = {"jax": (1, 2, 4, 8), "torch": (1, 2, 4)}
TOKENS = {"jax": 16384, "torch": 32768}
HEADS = {"jax": 4, "torch": 1}
MODES = 32
SHAPES = {
    "8 heads of queries and of keys": (8, 8),
    "8 heads of queries, 2 of keys": (8, 2),
    "8 heads of queries, 1 of keys": (8, 1),
}
LONG, WIDE, AROUND = 131072, 64, 8  # tokens, modes and devices of the table of bytes


def shared(arrays, heads, modes):
    """Return a model with one decay a head."""
    import numpy as np

    import afa_core as afa

    noise = afa.Noise(*(arrays(np.full(heads, x, "float32")) for x in (0.1, 1.0, 1.0)))
    frequency = arrays(np.geomspace(1e-3, 1.0, modes))
    return afa.IsotropicSDE(
        arrays(np.geomspace(1e-3, 0.1, heads, dtype="float32")), frequency, noise
    )


def jax_memory(devices):
    """Return the bytes of the compiled program of one device, by kind."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    import afa_core as afa
    from afa_jax import ring_attention

    mesh = Mesh(np.asarray(jax.devices()[:devices]), ("ring",))
    spec, sde = PartitionSpec(None, "ring"), shared(jnp.asarray, HEADS["jax"], MODES)
    shape = (HEADS["jax"], TOKENS["jax"], 2 * MODES)
    token = jax.ShapeDtypeStruct(shape, "float32", sharding=NamedSharding(mesh, spec))

    def local(tokens, sde):
        return ring_attention(*tokens, sde, axis_name="ring", weighting=afa.Rational())

    def loss(tokens, sde):
        mapped = jax.shard_map(
            local, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=spec, check_vma=False
        )
        return jnp.sum(mapped(tokens, sde) ** 2)

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower((token,) * 3, sde).compile()
    found = compiled.memory_analysis()
    return {
        "arguments": found.argument_size_in_bytes,
        "results": found.output_size_in_bytes,
        "in between": found.temp_size_in_bytes,
    }


def torch_rank(rank, ranks, place):
    """Write the peak of one rank's resident memory, and the time that all take."""
    import time

    import torch
    import torch.distributed as dist

    import afa_core as afa
    from afa_bench.memory import peak
    from afa_torch import ring_attention

    torch.set_num_threads(1)
    store = f"file://{place}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    torch.manual_seed(rank)
    shape = (HEADS["torch"], TOKENS["torch"] // ranks, 2 * MODES)
    tokens = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    sde = shared(torch.asarray, HEADS["torch"], MODES)
    times = []

    def call():
        start = time.perf_counter()
        mean = ring_attention(*tokens, sde, weighting=afa.Rational())
        torch.autograd.grad(mean.square().sum(), tokens)
        times.append(time.perf_counter() - start)

    found = peak(call)
    told = {"extra": found.extra, "method": found.method, "seconds": min(times)}
    (Path(place) / f"{rank}.json").write_text(json.dumps(told))
    dist.barrier()
    dist.destroy_process_group()


def torch_memory(ranks):
    """Return the greatest peak of all ranks."""
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as place:
        mp.spawn(torch_rank, (ranks, place), ranks)
        told = [json.loads((Path(place) / f"{r}.json").read_text()) for r in range(ranks)]
    return max(told, key=lambda each: each["extra"])


def sent():
    """Return the bytes that a device sends, if keys travel and if states do."""
    from afa_core.distributed.ring import traffic

    found = {}
    for name, (queries, keys) in SHAPES.items():
        own, width = LONG // AROUND, 2 * WIDE
        key = (keys, own, width)
        afa = traffic(AROUND, key, key, 4, times=(own,))
        dots = traffic(AROUND, key, key, 4)
        row = queries * own * 4  # bytes of one number of every query
        # queries go past all keys; mean, total, peak and precision come home with them
        asked, state = row * width + own * 8, row * (width + 3)
        # back go queries, derivatives in both results, and the result; home comes the query's
        given = asked + row * (width + 1) + row * (width + 2)
        states = (
            (AROUND - 1) * asked + AROUND * state,
            (AROUND - 1) * given + AROUND * asked,
        )
        found[name] = {"keys": afa, "dot products": dots, "states": states}
    return found


def errors():
    """Return the greatest errors that the tests find, by library and precision."""
    tests = DOCS.parent / "tests" / "rings"
    found = {}
    for name, script in (("torch", "ranks.py"), ("jax", "devices.py")):
        told = run([str(tests / script)])
        told = told[0] if isinstance(told, list) else told
        for dtype in ("float64", "float32"):
            own = [e for n, e in told["errors"].items() if ("float32" in n) == (dtype == "float32")]
            if own:
                found[f"{name}, {dtype}"] = {"compared": len(own), "greatest": max(own)}
    return found


def run(arguments, devices=8):
    """Run a script; return the JSON it prints."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    if "jax" not in arguments:
        flags += " --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, check=True, env=environment
    )
    return json.loads(done.stdout)


def table(head, rows):
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, each))} |" for each in lines)


def mega(x):
    """Return bytes in units that can be read."""
    return f"{x / 1e6:.3g} MB" if x < 1e9 else f"{x / 1e9:.3g} GB"


def tables(told):
    """Return the tables of the page, by name."""
    memory = []
    for name, per in told["memory"].items():
        whole = {int(n): sum(x.values()) if name == "jax" else x["extra"] for n, x in per.items()}
        for devices, size in whole.items():
            share = f"{size / whole[1]:.3f}"
            memory.append([name, devices, mega(size), share, f"{1 / devices:.3f}"])
    traffic = [
        [name, *(f"{mega(x[each][0])}, {mega(x[each][1])}" for each in x)]
        for name, x in told["sent"].items()
    ]
    equal = [[n, x["compared"], f"{x['greatest']:.1e}"] for n, x in told["errors"].items()]
    head = ["library", "devices P", "per device", "of that of one", "1/P"]
    travelling = ["there, back", "keys", "keys of dot products", "queries and states"]
    return {
        "memory": table(head, memory),
        "sent": table(travelling, traffic),
        "errors": table(["", "arrays compared", "greatest relative error"], equal),
    }


def main():
    """Measure, and write the report and the tables."""
    if len(sys.argv) > 1:
        measure = {"jax": jax_memory, "torch": torch_memory}[sys.argv[1]]
        json.dump(measure(int(sys.argv[2])), sys.stdout)
        return
    memory = {
        name: {n: run([__file__, name, str(n)]) for n in numbers}
        for name, numbers in DEVICES.items()
    }
    REPORT.write_text(
        json.dumps({"memory": memory, "sent": sent(), "errors": errors()}, indent=1) + "\n"
    )
    told, text = json.loads(REPORT.read_text()), PAGE.read_text(encoding="utf-8")
    for name, each in tables(told).items():
        marks = f"<!-- {name} -->\n", "\n<!-- end -->"
        text = re.sub(
            f"({marks[0]}).*?({marks[1]})", lambda m, x=each: m[1] + x + m[2], text, flags=re.S
        )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
