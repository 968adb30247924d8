"""Measure ring attention on this machine, and write the tables of docs/distributed.md.

Run ``python docs/examples/ring_attention.py``. Every measurement is made in a process of its own;
the results are kept in docs/reports/examples/ring_attention.json.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1]
REPORT = DOCS / "reports" / "examples" / "ring_attention.json"
PAGE = DOCS / "distributed.md"

DEVICES = {"jax": (1, 2, 4, 8), "torch": (1, 2, 4)}
TOKENS = {"jax": 16384, "torch": 32768}
HEADS = {"jax": 4, "torch": 1}
MODES = 32

# of the table of bytes sent
SENT_HEADS = {
    "8 query heads, 8 key heads": (8, 8),
    "8 query heads, 2 key heads": (8, 2),
    "8 query heads, 1 key head": (8, 1),
}
SENT_TOKENS, SENT_MODES, SENT_DEVICES = 131072, 64, 8


def model(asarray, heads, modes):
    """Return a model with one decay per head."""
    import numpy as np

    import afa_core as afa

    noise = afa.Noise(*(asarray(np.full(heads, x, "float32")) for x in (0.1, 1.0, 1.0)))
    frequency = asarray(np.geomspace(1e-3, 1.0, modes))
    decay = asarray(np.geomspace(1e-3, 0.1, heads, dtype="float32"))
    return afa.IsotropicSDE(decay, frequency, noise)


def jax_memory(devices):
    """Return the memory in bytes that the compiled program of one device takes, by kind."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    import afa_core as afa
    from afa_jax import ring_attention

    mesh = Mesh(np.asarray(jax.devices()[:devices]), ("ring",))
    spec, sde = PartitionSpec(None, "ring"), model(jnp.asarray, HEADS["jax"], MODES)
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
    analysis = compiled.memory_analysis()
    return {
        "arguments": analysis.argument_size_in_bytes,
        "results": analysis.output_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
    }


def measure_rank(rank, ranks, folder):
    """Write the peak resident memory of one rank, and the time of a call."""
    import time

    import torch
    import torch.distributed as dist

    import afa_core as afa
    from afa_bench.memory import peak
    from afa_torch import ring_attention

    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    torch.manual_seed(rank)
    shape = (HEADS["torch"], TOKENS["torch"] // ranks, 2 * MODES)
    tokens = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    sde = model(torch.asarray, HEADS["torch"], MODES)
    times = []

    def call():
        start = time.perf_counter()
        mean = ring_attention(*tokens, sde, weighting=afa.Rational())
        torch.autograd.grad(mean.square().sum(), tokens)
        times.append(time.perf_counter() - start)

    memory = peak(call)
    found = {"extra": memory.extra, "method": memory.method, "seconds": min(times)}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a closing interpreter aborts now and then: gloo's threads still free tensors


def torch_memory(ranks):
    """Return the measurements of the rank with the largest peak."""
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(measure_rank, (ranks, folder), ranks)
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
    return max(found, key=lambda each: each["extra"])


def sent_bytes():
    """Return the bytes that each device sends in the forward and the backward pass.

    Beside ring attention: with dot products, which have no times, and if queries and their
    results were sent instead of keys and values.
    """
    from afa_core.distributed import traffic

    found = {}
    for name, (queries, keys) in SENT_HEADS.items():
        tokens, width = SENT_TOKENS // SENT_DEVICES, 2 * SENT_MODES
        key = (keys, tokens, width)
        sent = traffic(SENT_DEVICES, key, key, 4, times=(tokens,))
        dot_products = traffic(SENT_DEVICES, key, key, 4)
        number = queries * tokens * 4  # bytes of one number per query
        # forward: queries and times, and then mean, total, peak and precision
        query, state = number * width + tokens * 8, number * (width + 3)
        # backward: also the gradients of mean and precision, and the result; then that of queries
        with_grads = query + number * (width + 1) + number * (width + 2)
        states = (
            (SENT_DEVICES - 1) * query + SENT_DEVICES * state,
            (SENT_DEVICES - 1) * with_grads + SENT_DEVICES * query,
        )
        found[name] = {"keys": sent, "dot products": dot_products, "states": states}
    return found


def largest_errors():
    """Return the largest errors that the tests find, by library and precision."""
    tests = DOCS.parent / "tests" / "distributed"
    largest = {}
    for library, script in (("torch", "ranks.py"), ("jax", "devices.py")):
        found = run([str(tests / script)])
        errors = (found[0] if isinstance(found, list) else found)["errors"]
        for dtype in ("float64", "float32"):
            own = [e for name, e in errors.items() if ("float32" in name) == (dtype == "float32")]
            if own:
                largest[f"{library}, {dtype}"] = {"arrays": len(own), "largest": max(own)}
    return largest


def run(arguments, devices=8):
    """Run a script; return the JSON that it prints."""
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


def with_unit(size):
    """Return a number of bytes as text."""
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"


def tables(report):
    """Return the tables of the page, by name."""
    memory = []
    for library, found in report["memory"].items():
        sizes = {
            int(n): sum(x.values()) if library == "jax" else x["extra"] for n, x in found.items()
        }
        for devices, size in sizes.items():
            ratio = f"{size / sizes[1]:.3f}"
            memory.append([library, devices, with_unit(size), ratio, f"{1 / devices:.3f}"])
    sent = [
        [
            name,
            *(f"{with_unit(forward)}, {with_unit(backward)}" for forward, backward in x.values()),
        ]
        for name, x in report["sent"].items()
    ]
    errors = [[name, x["arrays"], f"{x['largest']:.1e}"] for name, x in report["errors"].items()]
    return {
        "memory": table(
            ["library", "devices P", "memory per device", "relative to one device", "1/P"], memory
        ),
        "sent": table(
            [
                "forward, backward",
                "ring attention",
                "ring attention with dot products",
                "if queries and results were sent",
            ],
            sent,
        ),
        "errors": table(["", "arrays compared", "largest relative error"], errors),
    }


def write_page(report):
    """Write the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, rows in tables(report).items():
        pattern = f"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, rf"\g<1>{rows}\n\g<2>", text, flags=re.S)
    PAGE.write_text(text, encoding="utf-8")


def main():
    """Measure, and write the report and the tables; with arguments, make one measurement."""
    if len(sys.argv) > 1:
        measure = {"jax": jax_memory, "torch": torch_memory}[sys.argv[1]]
        json.dump(measure(int(sys.argv[2])), sys.stdout)
        return
    memory = {
        library: {devices: run([__file__, library, str(devices)]) for devices in numbers}
        for library, numbers in DEVICES.items()
    }
    report = {"memory": memory, "sent": sent_bytes(), "errors": largest_errors()}
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
    write_page(json.loads(REPORT.read_text()))


if __name__ == "__main__":
    main()
