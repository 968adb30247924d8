"""Draw a series of `irregular_series.py` with predictions, and the errors of all rows.

python irregular_series_figure.py      # trains two candidates once more
"""

import statistics

import matplotlib.pyplot as plt
import numpy as np
import sequences
import torch
from encoders import CANDIDATES
from irregular_series import (
    HERE,
    ROWS,
    SEEDS,
    STEPS,
    chosen_rows,
    predict,
    rates_tried,
    train,
)
from pictures import save
from rows import found, rows_of
from sequences import FORECAST, GAP, OBSERVED, TASKS, TEST

FLOOR = "exact smoother, all variances known"
EXAMPLE, SHOWN = 0, ("rotary", "afa, value rotation")


def plot_example(axis, rows):
    """Draw a series with outliers, what is known of it exactly, and what two candidates predict."""
    series = sequences.drawn("outliers", TEST)
    times, seen = series.times[EXAMPLE], series.kind[EXAMPLE] == OBSERVED
    for kind in (GAP, FORECAST):
        axis.axvspan(*times[series.kind[EXAMPLE] == kind][[0, -1]], color="0.93")
    axis.plot(times, series.target[EXAMPLE], color="0.7", lw=3, label="signal")
    axis.plot(times[seen], series.values[EXAMPLE][seen], "k.", label="observed")
    predictions = {FLOOR: sequences.baselines("outliers", series)[FLOOR]}
    for candidate in SHOWN:
        lr, *_ = rates_tried(rows, "outliers", candidate)
        model, _ = train("outliers", candidate, seed=SEEDS[0], lr=lr, steps=STEPS)
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = found(rows_of(ROWS), steps=STEPS)
    drawing, axes = plt.subplots(1, 2, figsize=(12.0, 4.6), width_ratios=(3, 2))
    plot_example(axes[0], rows)
    plot_errors(axes[1], rows)
    drawing.tight_layout()
    save(drawing, HERE.parent / "figures" / "irregular_series.png", dpi=130)
