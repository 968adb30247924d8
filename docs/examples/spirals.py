"""Train a filter on noisy spirals with outliers, and compare it with the Kalman filter.

Trajectories are those of dx = (−μ + iω) x dt + σ dw at irregular times, measured with noise of
variance η²; with outliers one measurement in ten has a hundred times the variance. A small
transformer with Adaptive Filter Attention is trained to estimate the state from the measurements up
to its time. The baselines are the measurements themselves, the same transformer with rotary
dot-product attention, and the exact Kalman filter with known parameters; with outliers, also the
Kalman filter with the average variance of the noise.
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
FREQUENCY_RANGE = (0.1, 1.0)
KINDS = {
    "filter": (
        "filter",
        {
            "normalised": False,
            "fixed": ("dof", "inverse_temperature"),
            "start": Start(frequency=FREQUENCY_RANGE, decay=(1.0 / 64.0, 1.0 / 2.0)),
        },
    ),
    "rotary": ("rotary", {"normalised": True, "frequency": FREQUENCY_RANGE, "learned": True}),
}
"""Both train frequencies from the same initial values; each has the better normalisation."""


def model_of(measurement):
    """Return the true model with the given variance of the measurement noise."""
    noise = afa.Noise(process=PROCESS, measurement=measurement, query=0.0)
    return afa.IsotropicSDE(DECAY, np.asarray([FREQUENCY]), noise)


def draw(rng, count, share):
    """Return times, states and measurements, of which a share are outliers."""
    times = np.cumsum(rng.exponential(size=(count, TOKENS)), axis=-1)
    initial = rng.standard_normal((count, 2)) * np.sqrt(PROCESS / (2.0 * DECAY) / 2.0)
    trajectory = afa.simulate(model_of(MEASUREMENT), times, initial=initial, rng=rng)
    outlier = rng.random((count, TOKENS, 1)) < share
    noise = trajectory.measurements - trajectory.state
    noise = np.where(outlier, np.sqrt(EXCESS), 1.0) * noise
    return times, trajectory.state, trajectory.state + noise


def error(estimate, state):
    """Return the root mean square error of a complex mode."""
    return float(np.sqrt(np.mean(np.sum((estimate - state) ** 2, axis=-1))))


def kalman(times, measurements, measurement):
    """Return the estimates of the exact filter, given the distribution of initial states."""
    prior = afa.kalman.Prior(mean=0.0, variance=PROCESS / (2.0 * DECAY))
    return afa.kalman.filter(measurements, times, model_of(measurement), prior=prior).mean


def train(kind, seed, share, steps, **options):
    """Return a network trained on newly drawn trajectories in every step."""
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


def evaluate(seed, share, steps, kinds):
    """Return the errors of all estimates on trajectories that were not used for training."""
    times, state, measurements = draw(np.random.default_rng([seed, 2]), 512, share)
    errors = {
        "measurements": error(measurements, state),
        "kalman": error(kalman(times, measurements, MEASUREMENT), state),
    }
    if share:
        average = MEASUREMENT * (1.0 - share + share * EXCESS)
        errors["kalman, average variance"] = error(kalman(times, measurements, average), state)
    for name, (kind, options) in kinds.items():
        network = train(kind, seed, share, steps, **options)
        with torch.no_grad():
            arrays = (torch.as_tensor(x, dtype=torch.float32) for x in (measurements, times))
            errors[name] = error(network(*arrays).numpy(), state)
    errors["parameters"] = {
        name: sum(
            x.numel()
            for x in SequenceFilter(
                2, FEATURES, blocks(kind, FEATURES, HEADS, BLOCKS, **options)
            ).parameters()
        )
        for name, (kind, options) in kinds.items()
    }
    return errors


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
            report[name].append(evaluate(seed, share, options.steps, KINDS))
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
