"""Train causal models of bytes that differ in attention alone, and test them on longer texts.

    python language.py tune rotary               # short runs, each with its learning rate
    python language.py train rotary --seed 0     # a row of the table; goes on where it was stopped
    python language.py table                     # the table of all rows
    python language.py copies                    # whether trained models copy what they have seen

The text is the source of Python's standard library. A tenth of its files is for the test, another
for choosing the learning rate by short runs. Models are trained on 256 bytes, and predict the same
last bytes of the texts of the test from 256 to 4096 bytes.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch
from attention import CANDIDATES, restored
from rows import append, found, rows_of, spread
from standard_library import cut, texts
from torch.nn import functional
from training import CONTEXT, train

HERE = Path(__file__).parent
WORK = Path("build/language")
ROWS = HERE / "language.jsonl"
STEPS = 1000
LENGTHS = (256, 512, 1024, 2048, 4096)
BASE = "rotary"
GROUPS, PIECES, SCORED = 16, 12, 128  # of pieces of text, and the bytes at their end that count
RATES, TRIAL, TRIAL_SEED = (8e-3, 16e-3), 250, 100  # of the short runs; TRIAL counts steps


@torch.no_grad()
def bits(model, text, length, device):
    """Return the bits per byte of the last bytes of groups of pieces, each piece of `length`."""
    drawn = torch.Generator().manual_seed(0)
    ends = torch.randint(LENGTHS[-1], len(text), (GROUPS, PIECES), generator=drawn)
    means = []
    for group in ends:
        nats = 0.0
        for end in group:
            piece = cut(text, [end - length], length + 1).to(device)
            logits = model(piece[:, :-1])[0, -SCORED:]
            nats += functional.cross_entropy(logits, piece[0, -SCORED:]).item()
        means.append(round(nats / PIECES / math.log(2.0), 4))
    return means


def rows_so_far(options, candidate, steps):
    """Return the rows so far of a candidate, of as many steps."""
    return found(rows_of(options.rows), candidate=candidate, steps=steps)


def trials(options, candidate):
    """Return the learning rates of the short runs of a candidate, the best one first."""
    rows = rows_so_far(options, candidate, TRIAL)
    rows.sort(key=lambda row: statistics.mean(row["bits"][str(CONTEXT)]))
    return [row["lr"] for row in rows]


def tune(options):
    """Make the short runs of a candidate, until the best rate has a worse one on either side."""
    missing = set(RATES)
    while missing:
        for lr in sorted(missing):
            run(options, seed=TRIAL_SEED, lr=lr, steps=TRIAL, lengths=[CONTEXT])
        best, *others = trials(options, options.candidate)
        missing = {best / 2.0, 2.0 * best}.difference(others)


def train_row(options):
    """Add a row of the table, with the best learning rate of the short runs."""
    rates = [options.lr] if options.lr else trials(options, options.candidate)
    assert rates, f"no short runs of {options.candidate}: run `tune` first, or give --lr"
    run(options, seed=options.seed, lr=rates[0], steps=STEPS, lengths=LENGTHS)


def run(options, *, seed, lr, steps, lengths):
    """Train and test a candidate, and append its row, unless there is one."""
    candidate = options.candidate
    if found(rows_so_far(options, candidate, steps), seed=seed, lr=lr):
        return
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    name = f"{candidate}-{seed}-{lr}-{steps}".replace(" ", "-")
    given, validation, test = texts()
    model, seconds, history = train(
        candidate,
        given,
        seed=seed,
        lr=lr,
        steps=steps,
        checkpoint=options.work / f"{name}.pt",
        device=options.device,
    )
    text = validation if steps == TRIAL else test
    row = {
        "candidate": candidate,
        "seed": seed,
        "lr": lr,
        "steps": steps,
        "parameters": sum(x.numel() for x in model.parameters()),
        "seconds": round(seconds, 1),
        "bits": {n: bits(model, text, n, options.device) for n in lengths},
        "history": history,
        "device": options.device,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }
    append(options.rows, row)
    print(candidate, seed, lr, {n: statistics.mean(x) for n, x in row["bits"].items()}, flush=True)


@torch.no_grad()
def copies(options):
    """Print bits per byte of random letters, and of the same ones again, of all trained models."""
    drawn = torch.Generator().manual_seed(0)
    letters = torch.randint(ord("a"), ord("z") + 1, (64, CONTEXT // 2), generator=drawn)
    twice = torch.cat([letters, letters], dim=1)
    for candidate in CANDIDATES:
        name = candidate.replace(" ", "-")
        for path in sorted(options.work.glob(f"{name}-[0-9]-*-{STEPS}.pt")):
            logits = restored(candidate, path)(twice[:, :-1]).transpose(1, 2)
            nats = functional.cross_entropy(logits, twice[:, 1:], reduction="none").mean(0)
            once, again = (x.mean().item() / math.log(2.0) for x in nats.tensor_split(2))
            print(f"{path.stem}: {once:.2f} bits, again {again:.2f}")


def groups(rows, length):
    """Return the bits per byte of groups of pieces, means over rows."""
    by_group = zip(*(row["bits"][str(length)] for row in rows), strict=True)
    return [statistics.mean(x) for x in by_group]


def table(options):
    """Print bits per byte by length, mean and deviation over seeds; then differences, paired."""
    rows = {}
    for candidate in CANDIDATES:
        best = trials(options, candidate)[:1]
        if own := [x for x in rows_so_far(options, candidate, STEPS) if x["lr"] in best]:
            rows[candidate] = own
    print("| attention | " + " | ".join(map(str, LENGTHS)) + " | learning rate | seeds |")
    print("|---|" + "---|" * (len(LENGTHS) + 2))
    for candidate, own in rows.items():
        means = ([statistics.mean(row["bits"][str(n)]) for row in own] for n in LENGTHS)
        cells = [spread(x) for x in means]
        print(f"| {candidate} | " + " | ".join(cells) + f" | {own[0]['lr']:g} | {len(own)} |")
    print(f"\n| less {BASE} | " + " | ".join(map(str, LENGTHS)) + " |")
    print("|---|" + "---|" * len(LENGTHS))
    for candidate in [x for x in rows if x != BASE]:
        seeds = [row["seed"] for row in rows[candidate]]
        base = [row for row in rows[BASE] if row["seed"] in seeds]
        cells = []
        for n in LENGTHS:
            pairs = zip(groups(rows[candidate], n), groups(base, n), strict=True)
            less = [x - y for x, y in pairs]
            error = statistics.stdev(less) / math.sqrt(GROUPS)
            cells.append(f"{statistics.mean(less):+.3f} ± {error:.3f}")
        print(f"| {candidate} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, default=ROWS)
    commands = parser.add_subparsers(required=True)
    tuning, training = commands.add_parser("tune"), commands.add_parser("train")
    for each in (tuning, training):
        each.add_argument("candidate", choices=CANDIDATES)
        each.add_argument("--threads", type=int, default=1)
        each.add_argument("--device", default="cpu")
        each.add_argument("--work", type=Path, default=WORK)
    tuning.set_defaults(call=tune)
    training.add_argument("--lr", type=float, help="if not the best of the short runs")
    training.add_argument("--seed", type=int, default=0)
    training.set_defaults(call=train_row)
    commands.add_parser("table").set_defaults(call=table)
    copying = commands.add_parser("copies")
    copying.add_argument("--work", type=Path, default=WORK)
    copying.set_defaults(call=copies)
    chosen = parser.parse_args()
    chosen.call(chosen)
