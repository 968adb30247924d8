"""Train causal models of bytes that differ in attention alone, and test them on longer texts.

    python language.py tune rotary               # short runs, of one learning rate each
    python language.py train rotary --seed 0     # a row of the table; goes on where it was stopped
    python language.py table                     # the table of all rows

The text is the source of Python's standard library; a tenth of its files is held out. Models are
trained on 256 bytes and predict the same last bytes of held-out texts from 256 to 4096 bytes.
The learning rate of a row is the best one of the short runs.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from attention import CANDIDATES, dynamics, model_of
from rows import append, rows_of, spread
from standard_library import cut, draw, texts
from torch import nn
from torch.nn import functional

from afa_torch.nn import parameter_groups

HERE = Path(__file__).parent
ROWS = HERE / "language.jsonl"
CONTEXT, BATCH = 256, 16
LENGTHS = (256, 512, 1024, 2048, 4096)
TEXTS, SCORED = 64, 128  # held-out texts, and the bytes at their end that are predicted
RATES, TRIAL, TRIAL_SEED = (4e-3, 8e-3, 16e-3), 250, 100  # of the short runs; TRIAL counts steps


def rate(step, steps):
    """Rise over the first twentieth, then fall as a cosine to a twentieth."""
    rise = min(1.0, (step + 1) / (0.05 * steps))
    return rise * (0.525 + 0.475 * math.cos(math.pi * step / steps))


def descend(model, optimiser, piece):
    """Take a step of training, and return the loss in nats."""
    loss = functional.cross_entropy(model(piece[:, :-1]).flatten(0, 1), piece[:, 1:].flatten())
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


def optimiser_of(model, lr):
    """Return the optimiser of all candidates."""
    return torch.optim.AdamW(parameter_groups(model, lr, weight_decay=0.1), betas=(0.9, 0.95))


def train(candidate, text, *, seed, lr, steps, checkpoint, device):
    """Return a trained model, the seconds that it took, and its dynamics at some steps."""
    torch.manual_seed(seed)
    model = model_of(candidate).to(device)
    optimiser = optimiser_of(model, lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps))
    state = {"model": model, "optimiser": optimiser, "schedule": schedule}
    first, seconds, history = 0, 0.0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        first, seconds, history = saved["step"], saved["seconds"], saved["history"]
        for name, x in state.items():
            x.load_state_dict(saved[name])
    start = time.perf_counter() - seconds
    for step in range(first, steps):
        piece = draw(text, seed, step, batch=BATCH, size=CONTEXT + 1).to(device)
        loss = descend(model, optimiser, piece)
        schedule.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            seconds = time.perf_counter() - start
            history.append([step + 1, round(loss / math.log(2.0), 4), dynamics(model)])
            own = {name: x.state_dict() for name, x in state.items()}
            own |= {"step": step + 1, "seconds": seconds, "history": history}
            torch.save(own, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            print(f"{candidate} {seed} {lr}: step {step + 1}, {history[-1][1]} bits", flush=True)
    return model.eval(), seconds, history


@torch.no_grad()
def bits(model, text, length, device):
    """Return the bits per byte of the last bytes of held-out texts, from `length` bytes."""
    drawn = torch.Generator().manual_seed(0)
    starts = torch.randint(len(text) - LENGTHS[-1], (TEXTS,), generator=drawn)
    total = 0.0
    for start in starts + LENGTHS[-1] - length:
        piece = cut(text, [start], length + 1).to(device)
        logits = model(piece[:, :-1])[0, -SCORED:]
        total += functional.cross_entropy(logits, piece[0, -SCORED:]).item()
    return round(total / TEXTS / math.log(2.0), 4)


def tuned(candidate, path):
    """Return the learning rate of the best short run of a candidate."""
    trials = [x for x in rows_of(path) if (x["candidate"], x["steps"]) == (candidate, TRIAL)]
    assert trials, f"no short runs of {candidate}: run `tune` first, or give --lr"
    return min(trials, key=lambda row: row["bits"][str(CONTEXT)])["lr"]


def tune(options):
    """Make the short runs of a candidate."""
    for lr in options.lr or RATES:
        own = {"lr": lr, "steps": TRIAL, "seed": TRIAL_SEED, "lengths": [CONTEXT]}
        run(argparse.Namespace(**(vars(options) | own)))


def run(options):
    """Train and test a candidate, and append its row."""
    options.lr = options.lr or tuned(options.candidate, options.rows)
    torch.set_num_threads(options.threads)
    name = f"{options.candidate}-{options.seed}-{options.lr}-{options.steps}".replace(" ", "-")
    options.work.mkdir(parents=True, exist_ok=True)
    given, held_out = texts()
    model, seconds, history = train(
        options.candidate,
        given,
        seed=options.seed,
        lr=options.lr,
        steps=options.steps,
        checkpoint=options.work / f"{name}.pt",
        device=options.device,
    )
    by_length = {n: bits(model, held_out, n, options.device) for n in options.lengths}
    row = {
        "candidate": options.candidate,
        "seed": options.seed,
        "lr": options.lr,
        "steps": options.steps,
        "parameters": sum(x.numel() for x in model.parameters()),
        "seconds": round(seconds, 1),
        "bits": by_length,
        "history": history,
        "device": options.device,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }
    append(options.rows, row)
    print(json.dumps({name: x for name, x in row.items() if name != "history"}))


def table(options):
    """Print mean and standard deviation over seeds by length, for the longest runs."""
    rows = rows_of(options.rows)
    rows = [row for row in rows if row["steps"] == max(x["steps"] for x in rows)]
    print("| attention | " + " | ".join(map(str, LENGTHS)) + " | learning rate | seeds |")
    print("|---|" + "---|" * (len(LENGTHS) + 2))
    for candidate in CANDIDATES:
        own = [row for row in rows if row["candidate"] == candidate]
        if own:
            by_length = ([row["bits"][str(length)] for row in own] for length in LENGTHS)
            cells = [spread(x) for x in by_length]
            cells += [str(own[0]["lr"]), str(len(own))]
            print(f"| {candidate} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, default=ROWS)
    commands = parser.add_subparsers(required=True)
    trials, trained = commands.add_parser("tune"), commands.add_parser("train")
    for each in (trials, trained):
        each.add_argument("candidate", choices=CANDIDATES)
        each.add_argument("--threads", type=int, default=1)
        each.add_argument("--device", default="cpu")
        each.add_argument("--work", type=Path, default=Path("build/language"))
    trials.add_argument("--lr", type=float, nargs="+", help="learning rates instead of the usual")
    trials.set_defaults(call=tune)
    trained.add_argument("--lr", type=float, help="if not the best of the short runs")
    trained.add_argument("--seed", type=int, default=0)
    trained.add_argument("--steps", type=int, default=1000)
    trained.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    trained.set_defaults(call=run)
    commands.add_parser("table").set_defaults(call=table)
    chosen = parser.parse_args()
    chosen.call(chosen)
