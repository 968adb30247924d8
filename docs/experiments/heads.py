"""What heads learn: their decays, gains and noises over the training of the language models.

python heads.py        # draws ../figures/heads.png from language.jsonl, and prints the last ones
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from language import ROWS, STEPS
from rows import rows_of

FIGURE = Path(__file__).parents[1] / "figures" / "heads.png"
CANDIDATES = ("afa", "afa, correlated")


def gain(found):
    """Return the gain K of the filter in its steady state, tokens one unit of time apart."""
    decay, process, noise = (found[x] for x in ("decay", "process", "measurement"))
    kept = np.exp(-2.0 * decay)
    gained = process * (1.0 - kept) / (2.0 * decay)
    linear = noise * (1.0 - kept) - gained
    predicted = (np.sqrt(linear**2 + 4.0 * gained * noise) - linear) / 2.0  # the Riccati equation
    return predicted / (predicted + noise)


QUANTITIES = {
    "memory of the decay, 1/μ": lambda found: 1.0 / found["decay"],
    "memory of the filter, 1/K": lambda found: 1.0 / gain(found),
    "stationary variance σ²/2μ": lambda found: found["process"] / (2.0 * found["decay"]),
    "measurement noise η²": lambda found: found["measurement"],
    "query noise γ²": lambda found: found["query_noise"],
    "inverse temperature β": lambda found: found["inverse_temperature"],
}


def history(rows, candidate, seed):
    """Return the steps (k,), and each quantity (k, blocks, heads), of a row of the table."""
    (row,) = (
        x for x in rows if (x["candidate"], x["seed"], x["steps"]) == (candidate, seed, STEPS)
    )
    found = [{name: np.asarray(x) for name, x in each.items()} for _, _, each in row["history"]]
    quantities = {
        name: np.stack([measure(each) for each in found]) for name, measure in QUANTITIES.items()
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
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    plot(rows_of(options.rows), options.seed, options.figure)
