"""Train a filter on noisy spirals with outliers; compare it with what is known to be best.

Trajectories are those of dx = (−μ + iω) x dt + σ dw at irregular times, measured with noise of
variance η²; with outliers every tenth measurement has a hundred times the variance. A small
transformer that filters learns to estimate the state from the measurements so far. Beside it: the
measurements themselves, the same transformer with rotary dot-product attention, and the exact
Kalman filter, told all parameters, and, with outliers, told the variance that their noise has on
the average too.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from models import SequenceFilter, blocks

import afa_core as afa
from afa_core.layer import Start

DECAY, FREQUENCY, PROCESS, MEASUREMENT = 0.02, 0.4, 0.02, 0.3
TOKENS, BATCH = 64, 32
FEATURES, HEADS, BLOCKS = 32, 4, 2
SHARE, EXCESS = 0.1, 100.0


def model_of(measurement):
    """Return the true model with a variance of measurements."""
    noise = afa.Noise(process=PROCESS, measurement=measurement, query=0.0)
    return afa.IsotropicSDE(DECAY, np.asarray([FREQUENCY]), noise)


def draw(rng, count, share):
    """Return times, states and measurements; a share of these are outliers."""
    times = np.cumsum(rng.exponential(size=(count, TOKENS)), axis=-1)
    initial = rng.standard_normal((count, 2)) * np.sqrt(PROCESS / (2.0 * DECAY) / 2.0)
    found = afa.simulate(model_of(MEASUREMENT), times, initial=initial, rng=rng)
    wild = rng.random((count, TOKENS, 1)) < share
    noise = np.where(wild, np.sqrt(EXCESS), 1.0) * (found.measurements - found.state)
    return times, found.state, found.state + noise


def error(estimate, state):
    """Return the root mean square error of a complex mode."""
    return float(np.sqrt(np.mean(np.sum((estimate - state) ** 2, axis=-1))))


def kalman(times, measurements, measurement):
    """Return what the exact filter says, which knows where states start."""
    prior = afa.kalman.Prior(mean=0.0, variance=PROCESS / (2.0 * DECAY))
    return afa.kalman.filter(measurements, times, model_of(measurement), prior=prior).mean


def train(kind, seed, share, steps, **options):
    """Return a filter trained on trajectories that are drawn as it learns."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    network = SequenceFilter(2, FEATURES, blocks(kind, FEATURES, HEADS, BLOCKS, **options))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(steps):
        times, state, measurements = (
            torch.as_tensor(x, dtype=torch.float32) for x in draw(rng, BATCH, share)
        )
        loss = torch.mean((network(measurements, times) - state) ** 2)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network


def judge(seed, share, steps, kinds):
    """Return the errors of everything on trajectories that no filter was trained on."""
    times, state, measurements = draw(np.random.default_rng([seed, 2]), 512, share)
    found = {
        "measurements": error(measurements, state),
        "kalman": error(kalman(times, measurements, MEASUREMENT), state),
    }
    if share:
        average = MEASUREMENT * (1.0 - share + share * EXCESS)
        found["kalman, average variance"] = error(kalman(times, measurements, average), state)
    for name, (kind, options) in kinds.items():
        network = train(kind, seed, share, steps, **options)
        with torch.no_grad():
            arrays = (torch.as_tensor(x, dtype=torch.float32) for x in (measurements, times))
            found[name] = error(network(*arrays).numpy(), state)
    found["parameters"] = {
        name: sum(
            x.numel()
            for x in SequenceFilter(
                2, FEATURES, blocks(kind, FEATURES, HEADS, BLOCKS, **options)
            ).parameters()
        )
        for name, (kind, options) in kinds.items()
    }
    return found


SPEEDS = (0.1, 1.0)
KINDS = {
    "filter": (
        "filter",
        {
            "normalised": False,
            "fixed": ("dof", "inverse_temperature"),
            "start": Start(frequency=SPEEDS, decay=(1.0 / 64.0, 1.0 / 2.0)),
        },
    ),
    "rotary": ("rotary", {"normalised": True, "frequency": SPEEDS, "learnt": True}),
}
"""Both learn frequencies, from one start; tokens are normalised or not as it suits each best."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = {}
    for name, share in (("outliers", SHARE), ("clean", 0.0)):
        report[name] = []
        for seed in range(options.seeds):
            report[name].append(judge(seed, share, options.steps, KINDS))
            print(name, seed, report[name][-1], flush=True)
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    for name, runs in report.items():
        for key in (each for each in runs[0] if each != "parameters"):
            values = [run[key] for run in runs]
            print(
                f"{name:10} {key:26} {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
            )


if __name__ == "__main__":
    main()
