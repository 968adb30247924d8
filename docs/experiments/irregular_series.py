"""Train small models to predict and interpolate series at irregular times, and compare errors.

    python irregular_series.py all                   # rows that are missing; all in two hours
    python irregular_series.py train clean rotary    # one row
    python irregular_series.py table                 # the tables of all rows

Candidates differ in how tokens are related in time, and have equal numbers of parameters. The
learning rate of each is chosen by the mean validation error of all seeds, on one of the simulated
and one of the real series, among rates of which the best has a worse one on either side.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import sequences
import torch
from encoders import CANDIDATES, model_of, tensors
from rows import append, found, rows_of, spread
from sequences import KINDS, SIMULATED, TASKS, TEST, TRAIN, VALID
from torch import nn

from afa_torch.nn import parameter_groups

HERE = Path(__file__).parent
BATCH = 16
RATES, SEEDS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (0, 1, 2)
TUNED_ON = {task: "outliers" if task in SIMULATED else "polar motion" for task in TASKS}
ROWS, STEPS = HERE / "irregular_series.jsonl", 500


def train(task, candidate, *, seed, lr, steps):
    """Return a trained model, and the seconds of this process that it took."""
    torch.manual_seed(seed)
    rng, draw = np.random.default_rng([seed, 0]), sequences.source(task, TRAIN)
    model = model_of(candidate)
    optimiser = torch.optim.AdamW(parameter_groups(model, lr, weight_decay=0.0))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], total_steps=steps
    )
    start = time.process_time()
    for _ in range(steps):
        series = draw(rng, BATCH)
        tokens, times, observed = tensors(series)
        residual = model(tokens, times, observed) - torch.as_tensor(series.target).float()
        loss = residual[~observed].square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval(), time.process_time() - start


@torch.no_grad()
def predict(model, series):
    return model(*tensors(series)).numpy()


def rows_so_far(options):
    """Return the rows so far of as many steps."""
    return found(rows_of(options.rows), steps=options.steps)


def add_row(options, task, candidate, seed, lr):
    """Train and test a candidate and append its row, unless there is one."""
    given = {"seed": seed, "lr": lr, "steps": options.steps}
    if found(rows_so_far(options), task=task, candidate=candidate, **given):
        return
    model, seconds = train(task, candidate, **given)
    series = {"valid": sequences.drawn(task, VALID), "test": sequences.drawn(task, TEST)}
    row = {"task": task, "candidate": candidate} | given
    row |= {
        "parameters": sum(x.numel() for x in model.parameters() if x.requires_grad),
        "seconds": round(seconds, 1),
        **{name: sequences.errors(predict(model, x), x) for name, x in series.items()},
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }
    append(options.rows, row)
    print(task, candidate, seed, lr, row["test"], row["seconds"], flush=True)


def rates_tried(rows, task, candidate):
    """Return the learning rates of a task that all seeds have tried, the best one first."""
    tried = {}
    for row in found(rows, task=task, candidate=candidate):
        tried.setdefault(row["lr"], []).append(row["valid"]["all"])
    whole = {lr: statistics.mean(x) for lr, x in tried.items() if len(x) == len(SEEDS)}
    return sorted(whole, key=whole.get)


def tune(options, task, candidate):
    """Add the rows of a task until its best learning rate has a worse one on either side."""
    missing = RATES[1:-1]
    while missing:
        for lr in missing:
            for seed in SEEDS:
                add_row(options, task, candidate, seed, lr)
        tried = rates_tried(rows_so_far(options), task, candidate)
        place = RATES.index(tried[0])
        missing = [x for x in RATES[max(place - 1, 0) : place + 2] if x not in tried]


def add_all(options):
    """Add all rows that are missing, first those of the tasks that rates are chosen on."""
    for task in sorted(TASKS, key=lambda task: task != TUNED_ON[task]):
        for candidate in options.candidates:
            if task == TUNED_ON[task]:
                tune(options, task, candidate)
                continue
            lr, *_ = rates_tried(rows_so_far(options), TUNED_ON[task], candidate)
            for seed in SEEDS:
                add_row(options, task, candidate, seed, lr)


def chosen_rows(rows, task, candidate):
    """Return the rows of a candidate at its best learning rate, one of each seed."""
    best = rates_tried(rows, TUNED_ON[task], candidate)[:1]
    return [row for row in found(rows, task=task, candidate=candidate) if row["lr"] in best]


def table(options):
    """Print mean and standard deviation of errors over seeds, a table for each task."""
    rows = rows_so_far(options)
    for task in [task for task in TASKS if found(rows, task=task)]:
        print(f"\n{task}\n\n| | " + " | ".join((*KINDS, "all", "rate", "seconds")) + " |")
        print("|---|" + "---|" * (len(KINDS) + 3))
        series = sequences.drawn(task, TEST)
        for name, prediction in sequences.baselines(task, series).items():
            cells = (f"{x:.3f}" for x in sequences.errors(prediction, series).values())
            print(f"| {name} | " + " | ".join(cells) + " | | |")
        for candidate in CANDIDATES:
            if own := chosen_rows(rows, task, candidate):
                kinds = ([row["test"][kind] for row in own] for kind in (*KINDS, "all"))
                cells = [spread(x) for x in kinds]
                cells.append(f"{own[0]['lr']:g}")
                cells.append(f"{statistics.median(row['seconds'] for row in own):.0f}")
                print(f"| {candidate} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--steps", type=int, default=STEPS)
    commands = parser.add_subparsers(required=True)
    every = commands.add_parser("all")
    every.add_argument("candidates", nargs="*", default=CANDIDATES, help="some of them")
    every.set_defaults(call=add_all)
    one = commands.add_parser("train")
    one.add_argument("task", choices=TASKS)
    one.add_argument("candidate", choices=CANDIDATES)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--lr", type=float, default=3e-3)
    one.set_defaults(call=lambda x: add_row(x, x.task, x.candidate, x.seed, x.lr))
    commands.add_parser("table").set_defaults(call=table)
    torch.set_num_threads(1)
    chosen = parser.parse_args()
    chosen.call(chosen)
