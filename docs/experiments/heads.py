"""What heads learn: their decays, gains and noises over the training of the language models.

python heads.py        # draws ../figures/heads.png from language.jsonl, and prints the last ones
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from language import ROWS, STEPS
from pictures import save
from rows import found, rows_of

FIGURE = Path(__file__).parents[1] / "figures" / "heads.png"
CANDIDATES = ("afa", "afa, correlated")


def gain(own):
    """Return the gain K of the filter in its steady state, tokens one unit of time apart."""
    decay, process, noise = (own[x] for x in ("decay", "process", "measurement"))
    kept = np.exp(-2.0 * decay)
    gained = process * (1.0 - kept) / (2.0 * decay)
    linear = noise * (1.0 - kept) - gained
    predicted = (np.sqrt(linear**2 + 4.0 * gained * noise) - linear) / 2.0  # the Riccati equation
    return predicted / (predicted + noise)


QUANTITIES = {
    "memory of the decay, 1/μ": lambda own: 1.0 / own["decay"],
    "memory of the filter, 1/K": lambda own: 1.0 / gain(own),
    "stationary variance σ²/2μ": lambda own: own["process"] / (2.0 * own["decay"]),
    "measurement noise η²": lambda own: own["measurement"],
    "query noise γ²": lambda own: own["query_noise"],
    "inverse temperature β": lambda own: own["inverse_temperature"],
}


def history(rows, candidate, seed):
    """Return the steps (k,), and each quantity (k, blocks, heads), of a row of the table."""
    (row,) = found(rows, candidate=candidate, seed=seed, steps=STEPS)
    parameters = [
        {name: np.asarray(x) for name, x in each.items()} for _, _, each in row["history"]
    ]
    quantities = {
        name: np.stack([measure(each) for each in parameters])
        for name, measure in QUANTITIES.items()
    }
    return [step for step, *_ in row["history"]], quantities


def plot(rows, seed, path):
    """Draw a panel for each quantity and candidate, a line for each head, coloured by block."""
    shape = len(QUANTITIES), len(CANDIDATES)
    figure, axes = plt.subplots(*shape, sharex=True, sharey="row", figsize=(9.0, 13.0))
    styles = "-", "--", "-.", ":"
    for column, candidate in zip(axes.T, CANDIDATES, strict=True):
        steps, quantities = history(rows, candidate, seed)
        for axis, (name, values) in zip(column, quantities.items(), strict=True):
            for block, head in np.ndindex(values.shape[1:]):
                label = f"block {block + 1}" if head == 0 else None
                axis.plot(steps, values[:, block, head], f"C{block}{styles[head]}", label=label)
            axis.set(yscale="log", title=f"{candidate}: {name}")
            axis.grid(alpha=0.3)
            print(f"{candidate}, {name}:", np.array2string(values[-1], precision=3))
        column[-1].set_xlabel("step of training")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=3)
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.98))
    save(figure, path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    plot(rows_of(options.rows), options.seed, options.figure)
