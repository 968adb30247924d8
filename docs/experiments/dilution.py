"""The weight of one key that agrees with the query, among more and more that do not, and its
share of the output: values decay to a = w e^(−μ lag), and if they are independent, of equal length
and zero mean, the mean square of the output is Σ a², of which the needle's value has a².

    python dilution.py             # writes dilution.json and ../figures/dilution.png

A query is the direction of one key, the needle, at a given lag; all other keys are random. The
sharpness of each kind of attention is set so that the needle has weight 0.9 among 64 keys.
"""

import argparse
import json
from functools import partial
from math import sqrt
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from pictures import save

import afa_core as afa

HERE = Path(__file__).parent
MODES, FEWEST, WEIGHT = 32, 64, 0.9
COUNTS = [2**i for i in range(6, 17)]
LAGS = (8, 48)
FREQUENCY = 1e-4 ** (np.arange(MODES) / (MODES - 1))
SLOPE = DECAY = 1.0 / 64.0
DRAWS = 10


def draw(rng, count, lag):
    """Return a query, keys at lags 0, 1, …, all of length √d, as complex modes at one time."""
    key = rng.standard_normal((count, MODES, 2)) @ np.asarray([1.0, 1j])
    key *= sqrt(MODES) / np.linalg.norm(key, axis=-1, keepdims=True)
    return key[lag].copy(), key


def dot_product(query, key, sharpness, *, slope=0.0):
    """Return softmax weights of rotary attention: where rotations meet, at the query's time."""
    logits = sharpness * (key.conj() @ query).real / MODES - slope * np.arange(len(key))
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def filtered(query, key, sharpness, *, weighting, correlated=False, stationary=1.0):
    """Return weights of Adaptive Filter Attention whose noises are in inverse ratio to sharpness.

    Keys are those of which propagation to the query's time makes the given ones, but for decay.
    Independent ones have a stationary variance σ²/2μ that is a multiple of η².
    """
    lags = np.arange(len(key), dtype=float)
    measurement = 1.0 / sharpness
    # σ² of the gain that gives the slope of ALiBi, or of the stationary variance
    decay, process = (0.0, SLOPE**2) if correlated else (DECAY, 2.0 * DECAY * stationary)
    noise = afa.Noise(process=process * measurement, measurement=measurement, query=measurement)
    sde = afa.IsotropicSDE(decay, FREQUENCY, noise)
    earlier = key * np.exp(-1j * FREQUENCY * lags[:, None])
    times = {"query_times": np.zeros(1), "key_times": -lags[::-1]}
    query, earlier = query[None, :], earlier[::-1]
    options = {"weighting": weighting, "correlated": correlated}
    weights = afa.attention_weights(query, earlier, earlier, sde, **times, **options)
    return weights[0, ::-1]


ROBUST = afa.StudentT(4.0)
KINDS = {
    "rotary": dot_product,
    "ALiBi": partial(dot_product, slope=SLOPE),
    "AFA": partial(filtered, weighting=ROBUST),
    "AFA, σ²/2μ = 16 η²": partial(filtered, weighting=ROBUST, stationary=16.0),
    "AFA, Gaussian": partial(filtered, weighting=afa.Gaussian()),
    "AFA, correlated": partial(filtered, weighting=ROBUST, correlated=True),
}
DECAYING = {name for name in KINDS if name.startswith("AFA")} - {"AFA, correlated"}


def sharpness_of(kind, problems):
    """Return the sharpness at which the needle has the weight among the fewest keys."""
    low, high = 1e-4, 1e6
    for _ in range(60):
        middle = sqrt(low * high)
        found = np.mean([kind(*given, middle)[lag] for lag, *given in problems])
        low, high = (middle, high) if found < WEIGHT else (low, middle)
    return low


def coefficients(name, weights):
    """Return the coefficients of the values in the output, weights times decay."""
    return weights * np.exp(-DECAY * np.arange(weights.shape[-1]) * (name in DECAYING))


def measure():
    """Return means for the needle, by lag, kind and number of keys."""
    found = {"weight": {}, "coefficient": {}, "output": {}}
    for lag in LAGS:
        rng = np.random.default_rng(0)
        problems = {n: [(lag, *draw(rng, n, lag)) for _ in range(DRAWS)] for n in COUNTS}
        for x in found.values():
            x[lag] = {name: [] for name in KINDS}
        for name, kind in KINDS.items():
            sharpness = sharpness_of(kind, problems[FEWEST])
            for n in COUNTS:
                weights = np.stack([kind(*given, sharpness) for _, *given in problems[n]])
                a = coefficients(name, weights)
                means = {
                    "weight": weights[:, lag],
                    "coefficient": a[:, lag],
                    "output": a[:, lag] ** 2 / np.sum(a**2, axis=-1),
                }
                for what, x in means.items():
                    found[what][lag][name].append(round(float(np.mean(x)), 5))
    return found


def plot(found, path):
    """Draw what was found against the number of keys, a row each, and a column for each lag."""
    figure, axes = plt.subplots(3, len(LAGS), sharex=True, sharey=True, figsize=(9.0, 8.6))
    names = "weight of the needle", "coefficient of its value", "its share of the output"
    for row, name, lags in zip(axes, names, found.values(), strict=True):
        for axis, (lag, kinds) in zip(row, lags.items(), strict=True):
            for kind, y in kinds.items():
                axis.plot(COUNTS, y, label=kind)
            axis.set(xscale="log", title=f"needle {lag} tokens before", ylim=(0.0, 1.05))
            axis.grid(alpha=0.3)
        row[0].set_ylabel(name)
    for axis in axes[-1]:
        axis.set_xlabel("keys")
    axes[0, 0].legend()
    figure.tight_layout()
    save(figure, path, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=HERE / "dilution.json")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "figures" / "dilution.png")
    options = parser.parse_args()
    results = measure()
    options.output.write_text(json.dumps({"keys": COUNTS} | results, indent=1) + "\n")
    plot(results, options.figure)
    for what, lags in results.items():
        for lag, kinds in lags.items():
            for name, found in kinds.items():
                print(what, lag, name, " ".join(f"{x:.3f}" for x in found))
