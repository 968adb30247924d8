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
START = Start(
    frequency=FREQUENCY_RANGE, decay=(1.0 / 64.0, 1.0 / 2.0), gain=(1.0 / 16.0, 1.0 / 2.0)
)
FILTER = {"normalised": False, "fixed": ("dof", "inverse_temperature"), "start": START}
ROTARY = {"normalised": True, "frequency": FREQUENCY_RANGE, "learned": True}
KINDS = {
    "filter": ("filter", FILTER),
    "filter, gaussian": ("filter", FILTER | {"weighting": "gaussian"}),
    "filter, correlated": ("filter", FILTER | {"correlated": True}),
    "rotary": ("rotary", ROTARY),
    "rotary, value rotation": ("rotary", ROTARY | {"value_rotation": True}),
}
"""All train frequencies from the same initial values; each has the better normalisation."""
RATES = (3e-3, 1e-2, 3e-2)
TUNING = 100  # the seed whose trajectories the learning rates are chosen on


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


def network_of(kind):
    """Return a network of a kind, with new weights."""
    attention, options = KINDS[kind]
    return SequenceFilter(2, FEATURES, blocks(attention, FEATURES, HEADS, BLOCKS, **options))


def robust(times, measurements):
    """Return the estimates of the robust filter with Student-t weights, given the same."""
    prior = afa.kalman.Prior(mean=0.0, variance=PROCESS / (2.0 * DECAY))
    model = model_of(MEASUREMENT)
    return afa.kalman.robust_filter(measurements, times, model, prior=prior).mean


def parameters(kind):
    """Return the number of trained parameters of a network of a kind."""
    return sum(x.numel() for x in network_of(kind).parameters() if x.requires_grad)


def train(kind, seed, share, steps, rate):
    """Return a network trained on newly drawn trajectories in every step."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    network = network_of(kind)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
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


@torch.no_grad()
def estimate(network, times, measurements):
    """Return the estimates of a network."""
    return network(
        *(torch.as_tensor(x, dtype=torch.float32) for x in (measurements, times))
    ).numpy()


def test_set(seed, share):
    """Return times, states and measurements that no network of the seed is trained on."""
    return draw(np.random.default_rng([seed, 2]), 512, share)


def best_rate(kind, share, steps):
    """Return the learning rate of the least error on the trajectories for tuning."""
    times, state, measurements = test_set(TUNING, share)

    def tried(rate):
        network = train(kind, TUNING, share, steps, rate)
        return error(estimate(network, times, measurements), state)

    return min(RATES, key=tried)


def exact(times, measurements, share):
    """Return the estimates of filters that know all parameters, by name."""
    found = {"kalman": kalman(times, measurements, MEASUREMENT)}
    if share:
        average = MEASUREMENT * (1.0 - share + share * EXCESS)
        found["kalman, average variance"] = kalman(times, measurements, average)
    found["robust kalman"] = robust(times, measurements)
    return found


def evaluate(seed, share, steps, rates):
    """Return the errors of all estimates on trajectories that were not used for training."""
    times, state, measurements = test_set(seed, share)
    known = exact(times, measurements, share)
    errors = {"measurements": error(measurements, state)}
    errors |= {name: error(found, state) for name, found in known.items()}
    for kind, rate in rates.items():
        found = estimate(train(kind, seed, share, steps, rate), times, measurements)
        errors[kind] = error(found, state)
        if not share:
            errors[f"{kind}, from kalman"] = error(found, known["kalman"])
    return errors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = {"parameters": {kind: parameters(kind) for kind in KINDS}, "rates": {}, "errors": {}}
    for name, share in (("outliers", SHARE), ("clean", 0.0)):
        rates = {kind: best_rate(kind, share, options.steps) for kind in KINDS}
        report["rates"][name], report["errors"][name] = rates, []
        for seed in range(options.seeds):
            report["errors"][name].append(evaluate(seed, share, options.steps, rates))
            print(name, seed, report["errors"][name][-1], flush=True)
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    for name, runs in report["errors"].items():
        for key in runs[0]:
            values = [run[key] for run in runs]
            print(
                f"{name:10} {key:26} {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
            )


if __name__ == "__main__":
    main()
