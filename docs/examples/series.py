"""Compare the filter of real series with other filters: errors, intervals, time and memory.

Run ``python docs/examples/series.py`` (minutes; it needs statsmodels, pykalman
and filterpy). It writes the tables of docs/guides/series.md and
docs/reports/examples/series.json.
"""

import importlib
import json
import math
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from afa_core.timeseries import Filter

DOCS = Path(__file__).parents[1]
REPORT = DOCS / "reports" / "examples" / "series.json"
PAGE = DOCS / "guides" / "series.md"

REGIMES = {
    "random walk, σ² = 0.25": (0.0, 0.25),
    "reverting, μ = 0.05, σ² = 0.3": (0.05, 0.3),
    "slow walk, σ² = 0.01": (0.0, 0.01),
}
"""Decay and process noise; the measurement noise is 1."""
MAX_LOOPED = 10_000
"""Length up to which EM is run, whose loops take minutes beyond."""
OUTLIERS, OUTLIER_SCALE, SHIFT = 0.03, 10.0, 10.0
SEEDS, TOKENS, MISSING, BURN_IN = 20, 600, 0.1, 60
WALK, COUNTS = 0.1, (1_000, 10_000, 100_000)
"""Process noise and lengths of the series that all filters are compared on."""
NILE = {
    "`Filter()`": {},
    "`Filter(robust=False)`": {"robust": False},
    "`Filter(decay=0)`": {"decay": 0.0},
    "`Filter(decay=0, robust=False)`, local level": {"decay": 0.0, "robust": False},
}
DROUGHT = 1913
"""The year of the lowest flow."""
Z = statistics.NormalDist().inv_cdf(0.975)


def simulate(rng, count, decay, process, outliers=0.0, *, irregular=True, missing=MISSING):
    """Return times, states, measurements and which of them are outliers."""
    times = np.cumsum(rng.exponential(size=count)) if irregular else np.arange(float(count))
    lag = np.diff(times, prepend=times[0])
    factor = np.exp(-decay * lag)
    rate = 2.0 * decay
    variance = process * (-np.expm1(-rate * lag) / rate if decay else lag)
    noise = np.sqrt(variance) * rng.standard_normal(count)
    state = np.empty(count)
    state[0] = math.sqrt(process / rate) * rng.standard_normal() if decay else 0.0
    for i in range(1, count):
        state[i] = factor[i] * state[i - 1] + noise[i]
    wild = rng.random(count) < outliers
    values = state + np.where(wild, OUTLIER_SCALE, 1.0) * rng.standard_normal(count)
    values[rng.random(count) < missing] = np.nan
    return times, state, values, wild


def sequential_robust(times, values, decay, process, dof=4.0):
    """Return the estimates of a filter that weights each measurement by its innovation."""
    lag = np.diff(times, prepend=times[0])
    factor = np.exp(-decay * lag)
    gained = process * (-np.expm1(-2.0 * decay * lag) / (2.0 * decay) if decay else lag)
    first = int(np.argmax(np.isfinite(values)))
    mean, variance = values[first], 1.0
    found = np.full(len(times), np.nan)
    found[first] = mean
    for i in range(first + 1, len(times)):
        mean, variance = factor[i] * mean, factor[i] ** 2 * variance + gained[i]
        if np.isfinite(values[i]):
            innovation = values[i] - mean
            weight = (dof + 1.0) / (dof + innovation**2 / (variance + 1.0))
            gain = variance / (variance + 1.0 / weight)
            mean, variance = mean + gain * innovation, (1.0 - gain) * variance
        found[i] = mean
    return found


def accuracy():
    """Return a row of results for every regime, without and with outliers."""
    rows = []
    for name, (decay, process) in REGIMES.items():
        for outliers in (0.0, OUTLIERS):
            rows.append(
                {"regime": name, "outliers": outliers, **_accuracy(decay, process, outliers)}
            )
            print(rows[-1], flush=True)
    return rows


def _accuracy(decay, process, outliers):
    """Return errors over those of other filters, coverages and flags, over all seeds."""
    squares = {name: 0.0 for name in ("filter", "smooth", "kalman", "kalman_smooth", "sequential")}
    covered, covered_smooth, false, found, moved = [], [], [], [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        times, state, values, wild = simulate(rng, TOKENS, decay, process, outliers)
        model, exact = Filter().fit(times, values), Filter(robust=False).fit(times, values)
        filtered, smoothed = model.filter(), model.smooth()
        estimates = {
            "filter": filtered.mean,
            "smooth": smoothed.mean,
            "kalman": exact.filter().mean,
            "kalman_smooth": exact.smooth().mean,
            "sequential": sequential_robust(times, values, decay, process),
        }
        for each, mean in estimates.items():
            squares[each] += float(np.mean((mean - state)[BURN_IN:] ** 2))
        for result, into in ((filtered, covered), (smoothed, covered_smooth)):
            lower, upper = result.interval(0.95)
            into.append(np.mean(((lower <= state) & (state <= upper))[BURN_IN:]))
        good = np.isfinite(values) & ~wild
        false.append(np.mean(filtered.outlier[good]))
        moved.append(model.measurement_)
        if not outliers:
            places = rng.choice(np.flatnonzero(good)[20:], 18, replace=False)
            shifted = values.copy()
            shifted[places] += SHIFT * rng.choice((-1.0, 1.0), 18)
            found.append(np.mean(Filter().fit(times, shifted).filter().outlier[places]))
    return {
        "over_kalman": math.sqrt(squares["filter"] / squares["kalman"]),
        "over_sequential": math.sqrt(squares["filter"] / squares["sequential"]),
        "smooth_over_kalman": math.sqrt(squares["smooth"] / squares["kalman_smooth"]),
        "covered": float(np.mean(covered)),
        "covered_smooth": float(np.mean(covered_smooth)),
        "false": float(np.mean(false)),
        "found": float(np.mean(found)) if found else None,
        "measurement": float(np.median(moved)),
    }


def ours(**options):
    """Return a function that fits and filters with this library."""

    def run(values):
        found = Filter(**options).fit(np.arange(float(len(values))), values).filter()
        return found.mean, found.sd, found.prediction

    return run


def local_level(values):
    """Fit and filter a random walk with statsmodels."""
    structural = importlib.import_module("statsmodels.tsa.statespace.structural")
    return _of_statsmodels(structural.UnobservedComponents(values, level="local level"))


def reverting(values):
    """Fit and filter an AR(1) with a mean and measurement noise with statsmodels."""
    sarimax = importlib.import_module("statsmodels.tsa.statespace.sarimax")
    model = sarimax.SARIMAX(values, order=(1, 0, 0), trend="c", measurement_error=True)
    return _of_statsmodels(model)


def _of_statsmodels(model):
    found = model.fit(disp=False).filter_results
    return (
        found.filtered_state[0],
        np.sqrt(found.filtered_state_cov[0, 0]),
        found.predicted_state[0, :-1],
    )


def pykalman(values):
    """Fit a random walk with 10 steps of EM, and filter, with pykalman."""
    library = importlib.import_module("pykalman")
    model = library.KalmanFilter(
        transition_matrices=[[1.0]],
        observation_matrices=[[1.0]],
        initial_state_mean=[values[np.isfinite(values)][0]],
        em_vars=["transition_covariance", "observation_covariance"],
    )
    masked = np.ma.masked_invalid(values)
    mean, variance = model.em(masked, n_iter=10).filter(masked)
    return mean[:, 0], np.sqrt(variance[:, 0, 0]), np.concatenate([[np.nan], mean[:-1, 0]])


def filterpy(values):
    """Filter with filterpy, which does not fit: with the true parameters."""
    library = importlib.import_module("filterpy.kalman")
    model = library.KalmanFilter(dim_x=1, dim_z=1)
    model.F = model.H = np.eye(1)
    model.Q, model.R, model.P = WALK * np.eye(1), np.eye(1), 1e6 * np.eye(1)
    mean, sd, prediction = [], [], []
    for value in values:
        model.predict()
        prediction.append(model.x[0, 0])
        model.update(value if np.isfinite(value) else None)
        mean.append(model.x[0, 0])
        sd.append(math.sqrt(model.P[0, 0]))
    return np.asarray(mean), np.asarray(sd), np.asarray(prediction)


FILTERS = {
    "afa_core, `Filter(decay=0)`": ours(decay=0.0),
    "afa_core, `Filter()`": ours(),
    "afa_core, `Filter(decay=0, robust=False)`": ours(decay=0.0, robust=False),
    "statsmodels, local level": local_level,
    "statsmodels, AR(1) + noise": reverting,
    "pykalman, EM": pykalman,
    "filterpy, true parameters": filterpy,
}


def run_one(name, count, outliers):
    """Return the results of one filter on one series, in this process."""
    warnings.simplefilter("ignore")
    _, state, values, wild = simulate(
        np.random.default_rng(0), count, 0.0, WALK, outliers, irregular=False
    )
    FILTERS[name](values[:300])
    start = time.perf_counter()
    mean, sd, prediction = FILTERS[name](values)
    seconds = time.perf_counter() - start
    late = slice(BURN_IN, None)
    good = ~wild[late]
    return {
        "seconds": seconds,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        "error": _rms((mean - state)[late]),
        "covered": float(np.mean(np.abs(mean - state)[late] <= Z * sd[late])),
        "prediction": _rms((prediction - values)[late][good]),
    }


def _rms(x):
    return float(np.sqrt(np.nanmean(x**2)))


def comparison():
    """Return the results of every filter, each run in a process of its own."""
    rows = []
    for count in COUNTS:
        for name in FILTERS:
            if name.startswith("pykalman") and count > MAX_LOOPED:
                continue
            for outliers in (0.0, OUTLIERS):
                arguments = ["--run", name, str(count), str(outliers)]
                done = subprocess.run(
                    [sys.executable, __file__, *arguments], capture_output=True, text=True
                )
                if done.returncode:
                    raise RuntimeError(done.stderr)
                found = json.loads(done.stdout)
                rows.append({"filter": name, "n": count, "outliers": outliers, **found})
                print(rows[-1], flush=True)
    return rows


def accuracy_table(rows):
    """Return the lines of the table of errors, intervals and flags."""
    lines = [
        "| model | outliers | error of `filter` / Kalman filter | / robust filter, true parameters "
        "| error of `smooth` / smoother | covered, `filter` | covered, `smooth` | false flags "
        "| ± 10 sd found | η² fitted |",
        "|---" * 10 + "|",
    ]
    for row in rows:
        found = "" if row["found"] is None else f"{100.0 * row['found']:.1f} %"
        cells = [
            row["regime"],
            f"{100.0 * row['outliers']:g} %",
            *(f"{row[x]:.3f}" for x in ("over_kalman", "over_sequential", "smooth_over_kalman")),
            *(f"{100.0 * row[x]:.1f} %" for x in ("covered", "covered_smooth")),
            f"{100.0 * row['false']:.2f} %",
            found,
            f"{row['measurement']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def comparison_table(rows):
    """Return the lines of the table of filters; without outliers / with them."""
    lines = [
        "| filter | n | error | covered | prediction | seconds | peak memory, MiB |",
        "|---" * 7 + "|",
    ]
    for clean, wild in zip(rows[::2], rows[1::2], strict=True):
        both = [
            f"{clean[x]:{form}} / {wild[x]:{form}}"
            for x, form in (("error", ".3f"), ("covered", ".3f"), ("prediction", ".3f"))
        ]
        seconds = f"{clean['seconds']:.2g} / {wild['seconds']:.2g}"
        memory = f"{max(clean['mebibytes'], wild['mebibytes']):.0f}"
        cells = [clean["filter"], f"{clean['n']:,}", *both, seconds, memory]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def nile():
    """Return the root mean square of the one-step prediction residuals of the Nile's flow."""
    flow = importlib.import_module("statsmodels.datasets.nile").load_pandas().data["volume"]
    years, values = np.arange(1871.0, 1971.0), flow.to_numpy()
    rows = []
    for name, options in NILE.items():
        model = Filter(**options).fit(years, values)
        residual = (values - model.filter().prediction)[1:]
        parameters = {x: getattr(model, f"{x}_") for x in ("decay", "process", "measurement")}
        without = residual[years[1:] != DROUGHT]
        rows.append({"model": name, **parameters, "all": _rms(residual), "without": _rms(without)})
        print(rows[-1], flush=True)
    return rows


def nile_table(rows):
    """Return the lines of the table of the Nile."""
    lines = [
        f"| model | μ, 1/year | σ², per year | η² | rms | without {DROUGHT} |",
        "|---" * 6 + "|",
    ]
    for row in rows:
        numbers = f"{row['decay']:.3f} | {row['process']:.0f} | {row['measurement']:.0f}"
        lines.append(f"| {row['model']} | {numbers} | {row['all']:.1f} | {row['without']:.1f} |")
    return lines


def write_page(tables):
    """Put tables between their marks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in tables.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        after = rest.partition("<!-- end -->")[2]
        text = f"{before}{mark}\n" + "\n".join(lines) + f"\n\n<!-- end -->{after}"
    PAGE.write_text(text, encoding="utf-8")


def main():
    """Run one filter, or all of them, and write what was found."""
    if sys.argv[1:2] == ["--run"]:
        name, count, outliers = sys.argv[2:]
        print(json.dumps(run_one(name, int(count), float(outliers))))
        return
    report = {
        "accuracy": accuracy(),
        "comparison": comparison(),
        "nile": nile(),
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    write_page(
        {
            "accuracy": accuracy_table(report["accuracy"]),
            "comparison": comparison_table(report["comparison"]),
            "nile": nile_table(report["nile"]),
        }
    )


if __name__ == "__main__":
    main()
