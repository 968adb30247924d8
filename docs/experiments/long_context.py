"""What context beyond that of training costs and buys, to 65,536 bytes.

    python long_context.py row "afa, correlated" 16384     # a row, in a process of its own
    python long_context.py all                             # all rows that are not there yet
    python long_context.py table                           # the tables, and the figure

The models are those of a seed of `language.py`, which leaves them in `build/language`. All predict
the same last bytes of held-out texts; time and memory are those of one text, batch 1.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from attention import restored
from pictures import save
from rows import append, rows_of
from standard_library import cut, texts
from torch.nn import functional
from training import CONTEXT

import afa_core as afa
from afa_bench.memory import peak

HERE = Path(__file__).parent
ROWS = HERE / "long_context.jsonl"
FIGURE = HERE.parent / "figures" / "long_context.png"
LENGTHS = tuple(CONTEXT * 4**i for i in range(5))
TEXTS, FEW = 16, 2  # few ones of the greatest length, and with a bounded cache
PIECE, SCORED = 256, 128
FULL, BOUNDED = "afa, correlated", "afa, correlated, bounded cache"
TOLERANCE = 1e-2
CANDIDATES = ("rotary", "rotary, window", "alibi, rotary", FULL, BOUNDED)


def load(candidate, options):
    """Return the trained model of a candidate."""
    trained = candidate.removesuffix(", bounded cache")
    (path,) = options.work.glob(f"{trained}-{options.seed}-*-1000.pt".replace(" ", "-"))
    return restored(trained, path)


def decode(model, tokens):
    """Return the logits of the last piece, and the most tokens that a cache had.

    Pieces of the text go through the model one after the other; after each, tokens that hardly
    matter to any later one are evicted.
    """
    layers = [block.attention.layer for block in model.blocks]
    caches = [layer.empty_cache(model.embed(tokens[:, :1])) for layer in layers]
    most = 0
    for piece in tokens.split(PIECE, dim=1):
        x = model.embed(piece)
        for i, block in enumerate(model.blocks):
            found, cache = layers[i].step(block.attention_norm(x), caches[i])
            x = x + found.output
            x = x + block.perceptron(block.perceptron_norm(x))
            most = max(most, int(cache.used))
            caches[i] = afa.evict(cache, layers[i].layer.sde, TOLERANCE)
    return model.output(model.norm(x)), most


def bits(logits, piece):
    """Return the bits per byte of the last bytes of a piece."""
    nats = functional.cross_entropy(logits[0, -SCORED:], piece[0, -SCORED:]).item()
    return round(nats / math.log(2.0), 4)


@torch.no_grad()
def run(options):
    """Measure a candidate at a length, and append its row: memory in a pass of its own."""
    torch.set_num_threads(options.threads)
    model = load(options.candidate, options)
    *_, text = texts()
    drawn = torch.Generator().manual_seed(1)
    ends = torch.randint(LENGTHS[-1], len(text) - 1, (TEXTS,), generator=drawn)
    pieces = cut(text, ends - options.length, options.length + 1)
    bounded = options.candidate == BOUNDED
    predict = partial(decode, model) if bounded else lambda tokens: (model(tokens), 0)
    predict(pieces[:1, : 2 * PIECE])  # what is compiled or loaded by the first call is not counted
    found, cached, seconds = [], [], []
    memory = peak(lambda: predict(pieces[:1, :-1]))
    few = bounded or options.length == LENGTHS[-1]
    for piece in pieces[: FEW if few else TEXTS].split(1):
        start = time.perf_counter()
        logits, most = predict(piece[:, :-1])
        seconds.append(time.perf_counter() - start)
        found.append(bits(logits, piece))
        cached.append(most)
    row = {
        "candidate": options.candidate,
        "seed": options.seed,
        "length": options.length,
        "bits": found,
        "seconds": round(statistics.median(seconds), 4),
        "mebibytes": round(memory.extra / 2**20, 1),
        "cached": max(cached),
        "threads": options.threads,
    }
    append(options.rows, row)
    print(json.dumps(row), flush=True)


def run_all(options):
    """Run what is missing, each row in a process of its own, lengths in turn."""
    done = {(row["candidate"], row["length"]) for row in rows_of(options.rows)}
    for length in LENGTHS:
        for candidate in CANDIDATES:
            if (candidate, length) not in done:
                own = [sys.executable, __file__, *sys.argv[1:-1], "row", candidate, str(length)]
                subprocess.run(own, check=True)


def mean_bits(rows, candidate, length):
    """Return the mean over texts.

    With fewer of them it is that of all, at the length before or with the full cache, and the mean
    difference from there.
    """
    bits = rows[candidate, length]["bits"]
    if len(bits) == TEXTS:
        return statistics.mean(bits)
    other = (FULL, length) if candidate == BOUNDED else (candidate, length // 4)
    differences = (x - y for x, y in zip(bits, rows[other]["bits"], strict=False))
    return mean_bits(rows, *other) + statistics.mean(differences)


def table(options):
    """Print a table of each measure by length, and draw them."""
    rows = {(row["candidate"], row["length"]): row for row in rows_of(options.rows)}
    measures = {
        "bits per byte": (lambda *own: mean_bits(rows, *own), ".3f"),
        "milliseconds per byte": (lambda *own: 1e3 * rows[own]["seconds"] / own[1], ".3g"),
        "peak extra memory, MiB": (lambda *own: rows[own]["mebibytes"], ".0f"),
    }
    figure, axes = plt.subplots(1, len(measures), figsize=(11.0, 3.6))
    for axis, (title, (measure, form)) in zip(axes, measures.items(), strict=True):
        print(f"\n| {title} | " + " | ".join(map(str, LENGTHS)) + " |")
        print("|---|" + "---|" * len(LENGTHS))
        for candidate in CANDIDATES:
            own = [n for n in LENGTHS if (candidate, n) in rows]
            values = [measure(candidate, n) for n in own]
            axis.plot(own, values, marker="o", markersize=3, label=candidate)
            print(f"| {candidate} | " + " | ".join(format(x, form) for x in values) + " |")
        axis.set(xscale="log", xlabel="bytes of context", title=title)
        axis.set_xticks(LENGTHS, [str(n) for n in LENGTHS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    axes[2].set_yscale("log")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    save(figure, options.figure, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--work", type=Path, default=Path("build/language"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    commands = parser.add_subparsers(required=True)
    row = commands.add_parser("row")
    row.add_argument("candidate", choices=CANDIDATES)
    row.add_argument("length", type=int)
    row.set_defaults(call=run)
    commands.add_parser("all").set_defaults(call=run_all)
    commands.add_parser("table").set_defaults(call=table)
    chosen = parser.parse_args()
    chosen.call(chosen)
