"""Train small models to predict and interpolate series at irregular times, and compare errors.

    python irregular_series.py all                   # all rows that are missing; hours on one core
    python irregular_series.py train clean rotary    # one row
    python irregular_series.py table                 # the tables of all rows
    python irregular_series.py figure

Candidates differ in how tokens are related in time, and have equal numbers of parameters. The
learning rate of each is chosen on the validation part, for simulated and for real series.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import sequences
import torch
from encoders import CANDIDATES, model_of, tensors
from rows import append, rows_of, spread
from sequences import FORECAST, GAP, KINDS, OBSERVED, SIMULATED, TASKS, TEST, TRAIN, VALID
from torch import nn

from afa_torch.nn import parameter_groups

HERE = Path(__file__).parent
BATCH = 16
RATES, SEEDS = (3e-3, 1e-2, 3e-2), (0, 1, 2)
TUNED_ON = {task: "outliers" if task in SIMULATED else "polar motion" for task in TASKS}
FLOOR = "exact smoother, all variances known"
EXAMPLE, SHOWN = 0, ("rotary", "afa, value rotation")


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


def found(rows, **given):
    """Return the rows that have the given entries."""
    return [row for row in rows if all(row[name] == x for name, x in given.items())]


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


def best_rate(rows, task, candidate):
    """Return the learning rate of the least validation error of the task that it is tuned on."""
    tuned = found(rows, task=TUNED_ON[task], candidate=candidate, seed=SEEDS[0])
    return min(tuned, key=lambda row: row["valid"]["all"])["lr"]


def add_all(options):
    """Add all rows that are missing: learning rates first, then seeds."""
    for task in sorted(TASKS, key=lambda task: task != TUNED_ON[task]):
        if task == TUNED_ON[task]:
            for candidate in CANDIDATES:
                for lr in RATES:
                    add_row(options, task, candidate, SEEDS[0], lr)
        for seed in SEEDS:
            for candidate in CANDIDATES:
                lr = best_rate(rows_so_far(options), task, candidate)
                add_row(options, task, candidate, seed, lr)


def chosen_rows(rows, task, candidate):
    """Return the rows of a candidate at its best learning rate, one of each seed."""
    own = found(rows, task=task, candidate=candidate)
    return found(own, lr=best_rate(rows, task, candidate)) if own else []


def table(options):
    """Print mean and standard deviation of errors over seeds, a table for each task."""
    rows = rows_so_far(options)
    for task in TASKS:
        print(f"\n{task}\n\n| | " + " | ".join((*KINDS, "all", "rate", "seconds")) + " |")
        print("|---|" + "---|" * (len(KINDS) + 3))
        series = sequences.drawn(task, TEST)
        for name, prediction in sequences.baselines(task, series).items():
            cells = (f"{x:.3f}" for x in sequences.errors(prediction, series).values())
            print(f"| {name} | " + " | ".join(cells) + " | | |")
        for candidate in CANDIDATES:
            if len(own := chosen_rows(rows, task, candidate)) > 1:
                kinds = ([row["test"][kind] for row in own] for kind in (*KINDS, "all"))
                cells = [spread(x) for x in kinds]
                cells.append(f"{own[0]['lr']:g}")
                cells.append(f"{statistics.median(row['seconds'] for row in own):.0f}")
                print(f"| {candidate} | " + " | ".join(cells) + " |")


def plot_example(axis, rows, steps):
    """Draw a series with outliers, what is known of it exactly, and what two candidates predict."""
    series = sequences.drawn("outliers", TEST)
    times, seen = series.times[EXAMPLE], series.kind[EXAMPLE] == OBSERVED
    for kind in (GAP, FORECAST):
        axis.axvspan(*times[series.kind[EXAMPLE] == kind][[0, -1]], color="0.93")
    axis.plot(times, series.target[EXAMPLE], color="0.7", lw=3, label="signal")
    axis.plot(times[seen], series.values[EXAMPLE][seen], "k.", label="observed")
    predictions = {FLOOR: sequences.baselines("outliers", series)[FLOOR]}
    for candidate in SHOWN:
        lr = best_rate(rows, "outliers", candidate)
        model, _ = train("outliers", candidate, seed=SEEDS[0], lr=lr, steps=steps)
        predictions[candidate] = predict(model, series)
    hidden = np.where(seen, np.nan, 1.0)
    for color, (name, prediction) in zip(("k", "C0", "C1"), predictions.items(), strict=True):
        axis.plot(times, hidden * prediction[EXAMPLE], color, marker="o", ms=3, lw=1, label=name)
    axis.set(xlabel="time", ylim=(-4.5, 5.5))
    axis.legend(fontsize=8, ncols=2)


def plot_errors(axis, rows):
    """Draw the errors of all candidates and seeds, relative to the mean of rotary attention."""
    for place, task in enumerate(TASKS):
        errors = [[x["test"]["all"] for x in chosen_rows(rows, task, y)] for y in CANDIDATES]
        if base := errors[CANDIDATES.index("rotary")]:
            at = np.repeat(np.arange(len(CANDIDATES)), [len(x) for x in errors])
            ratio = np.concatenate(errors) / statistics.mean(base)
            axis.plot(ratio, at + 0.15 * (place - 2), ".", color=f"C{place}", label=task)
    axis.axvline(1.0, color="0.7", lw=1)
    axis.set(xlabel="error / that of rotary attention", ylim=(len(CANDIDATES), -1))
    axis.set_yticks(range(len(CANDIDATES)), CANDIDATES)
    axis.legend(fontsize=8, loc="lower right")


def figure(options):
    """Draw an example and the errors of all rows."""
    rows = rows_so_far(options)
    drawing, axes = plt.subplots(1, 2, figsize=(12.0, 4.6), width_ratios=(3, 2))
    plot_example(axes[0], rows, options.steps)
    plot_errors(axes[1], rows)
    drawing.tight_layout()
    drawing.savefig(HERE.parent / "figures" / "irregular_series.png", dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, default=HERE / "irregular_series.jsonl")
    parser.add_argument("--steps", type=int, default=500)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("all").set_defaults(call=add_all)
    one = commands.add_parser("train")
    one.add_argument("task", choices=TASKS)
    one.add_argument("candidate", choices=CANDIDATES)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--lr", type=float, default=3e-3)
    one.set_defaults(call=lambda x: add_row(x, x.task, x.candidate, x.seed, x.lr))
    commands.add_parser("table").set_defaults(call=table)
    commands.add_parser("figure").set_defaults(call=figure)
    torch.set_num_threads(1)
    chosen = parser.parse_args()
    chosen.call(chosen)
