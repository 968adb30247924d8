"""Compare independent and correlated keys with the Kalman filter on its own model.

Run ``python docs/examples/correlated.py`` (minutes). It writes the table of
docs/guides/correlated.md, its figure, and docs/reports/examples/correlated.json.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import afa_core as afa

DOCS = Path(__file__).parents[1]
REPORT = DOCS / "reports" / "examples" / "correlated.json"
PAGE = DOCS / "guides" / "correlated.md"
FIGURE = DOCS / "figures" / "correlated.png"

TOKENS, STEP, FREQUENCY = 200, 0.5, 0.7
REPETITIONS, CHUNK = 400, 25
OUTLIERS, OUTLIER_SCALE = 0.05, 10.0


class Regime(NamedTuple):
    """Decay and noise of a model, in units of the values' and of time."""

    decay: float
    process: float
    measurement: float

    @property
    def sde(self):
        """The model, with one complex mode."""
        noise = afa.Noise(self.process, self.measurement, self.measurement)
        return afa.IsotropicSDE(self.decay, np.asarray([FREQUENCY]), noise)

    @property
    def gained(self):
        """The variance that the state gains in a step."""
        rate = 2.0 * self.decay * STEP
        return self.process * STEP * (-np.expm1(-rate) / rate if rate else 1.0)


REGIMES = (
    Regime(0.5, 1.0, 0.5),
    Regime(0.1, 0.1, 0.5),
    Regime(0.01, 0.02, 0.5),
    Regime(0.01, 0.002, 1.0),
    Regime(0.5, 0.05, 2.0),
    Regime(0.0, 0.02, 1.0),
)


def draw(regime, outliers, repetitions, rng):
    """Return states and measurements, (repetitions, tokens, 1), and their times."""
    times = STEP * np.arange(TOKENS)

    def normal(*shape):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2.0)

    start = regime.process / (2.0 * regime.decay) if regime.decay else 4.0
    step = np.exp((-regime.decay + 1j * FREQUENCY) * STEP)
    state = np.empty((repetitions, TOKENS, 1), complex)
    state[:, 0] = np.sqrt(start) * normal(repetitions, 1)
    for i in range(1, TOKENS):
        state[:, i] = step * state[:, i - 1] + np.sqrt(regime.gained) * normal(repetitions, 1)
    scale = np.where(rng.random(state.shape) < outliers, OUTLIER_SCALE, 1.0)
    return state, state + np.sqrt(regime.measurement) * scale * normal(*state.shape), times


def predictions(measurements, mean, variance, regime):
    """Return the prediction of each token from the estimate before it, and its variance.

    The first token has none: it is predicted by its own measurement.
    """
    predicted = afa.predict(mean[:, :-1], regime.sde, STEP)
    query = np.concatenate([measurements[:, :1], predicted], axis=1)
    grown = np.exp(-2.0 * regime.decay * STEP) * variance[..., :-1] + regime.gained
    first = np.full_like(variance[..., :1], regime.measurement)
    return query, np.concatenate([first, grown], axis=-1)


def estimates(measurements, times, regime):
    """Return the estimates of every method by name."""
    sde, z = regime.sde, measurements
    exact = afa.kalman.filter(z, times, sde)
    common = {"query_times": times, "key_times": times}
    found = {
        "Kalman filter": exact.mean,
        "independent, StudentT, q = k = v": afa.attention(z, z, z, sde, **common),
        "correlated, Uniform": afa.attention(
            z, z, z, sde, weighting=afa.Uniform(), correlated=True, **common
        ),
    }
    mean, variance = exact.mean, exact.variance[..., 0]
    for passes in (1, 2, 3):
        query, own = predictions(z, mean, variance, regime)
        mean = afa.attention(
            query, z, z, sde, weighting=afa.Rational(4.0), correlated=True,
            query_variance=own, **common,
        )  # fmt: skip
        found[f"correlated, Rational, pass {passes}"] = mean
    return found


def ratios(regime, outliers, repetitions=REPETITIONS, seed=0):
    """Return mean-square errors over the Kalman filter's, on the later half of the tokens."""
    rng = np.random.default_rng(seed)
    totals = {}
    for start in range(0, repetitions, CHUNK):
        state, z, times = draw(regime, outliers, min(CHUNK, repetitions - start), rng)
        for name, mean in estimates(z, times, regime).items():
            error = np.sum(np.abs(mean - state)[:, TOKENS // 2 :] ** 2)
            totals[name] = totals.get(name, 0.0) + float(error)
    return {name: total / totals["Kalman filter"] for name, total in totals.items()}


def rows(report):
    """Return the lines of the table."""
    names = [name for name in report[0]["ratios"] if name != "Kalman filter"]
    lines = [
        "| μ | σ² | η² | outliers | " + " | ".join(names) + " |",
        "|---" * (4 + len(names)) + "|",
    ]
    for row in report:
        numbers = [f"{row['ratios'][name]:.3f}" for name in names]
        cells = [*(f"{x:g}" for x in row["regime"]), f"{100.0 * row['outliers']:g} %", *numbers]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_page(report):
    """Put the table between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- table -->\n")
    after = rest.partition("<!-- end of table -->")[2]
    table = "\n".join(rows(report))
    PAGE.write_text(f"{before}{mark}\n{table}\n\n<!-- end of table -->{after}", encoding="utf-8")


def draw_figure():
    """Plot the weights of both kinds of keys for the last token of an irregular series."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(3)
    times = np.cumsum(rng.exponential(size=60))
    sde = Regime(0.0, 0.02, 1.0).sde
    x = np.ones((60, 1), complex)
    options = {"weighting": afa.Uniform(), "query_times": times, "key_times": times}
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, correlated, marker in (("independent keys", False, "o"), ("correlated", True, "s")):
        weights = afa.attention_weights(x, x, x, sde, correlated=correlated, **options)[-1]
        axes.semilogy(times, weights, marker, label=name, markersize=4.0)
    axes.set(xlabel="time of the key", ylabel="weight for the last token", ylim=(1e-5, 1.0))
    axes.legend()
    figure.savefig(FIGURE, dpi=150)


def main():
    """Run all regimes, with and without outliers, and write what was found."""
    report = [
        {"regime": regime, "outliers": share, "ratios": ratios(regime, share)}
        for share in (0.0, OUTLIERS)
        for regime in REGIMES
    ]
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    write_page(json.loads(REPORT.read_text(encoding="utf-8")))
    draw_figure()


if __name__ == "__main__":
    sys.exit(main())
