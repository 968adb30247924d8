"""Small descriptions of measured series, the NumPy numbers they stand for, and the way there.

Hypothesis draws a `SeriesDescription` and shrinks it; `draw` makes its numbers from the seed, in
double precision, complex modes and a parameter per mode. `estimate` sends them to the subject.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from afa_conformance.runner import read_modes, write_modes
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, IsotropicSDE, Noise, kalman

LAYOUTS = ("complex", "interleaved", "halves", "real")
MEANS = ("mean", "predicted_mean")
GAP = np.nan


@dataclass(frozen=True)
class SeriesDescription:
    """What a series is like; with the seed it determines every number.

    Parameters
    ----------
    tokens, modes : int
    leading : tuple of int
    decay : {"ordinary", "zero", "slow"}
    process : {"ordinary", "zero"}
    times : {"irregular", "tied", "default", "integers"}
    gaps : bool
        About a third of the measurements are missing, the very first among them.
    prior : bool
    layout : {"complex", "interleaved", "halves", "real"}
        A real state has the real parts of the numbers and frequency zero.
    seed : int
    """

    tokens: int = 4
    modes: int = 2
    leading: tuple[int, ...] = ()
    decay: str = "ordinary"
    process: str = "ordinary"
    times: str = "irregular"
    gaps: bool = False
    prior: bool = False
    layout: str = "complex"
    seed: int = 0


@dataclass(frozen=True)
class DrawnSeries:
    """Measurements (..., n, d) and, as drawn, a `DiagonalSDE` of arrays (d,); gaps hold NaN.

    In a real state the numbers are real; everything else is alike.
    """

    measurements: NDArray[Any]
    times: Any
    sde: Any
    observed: Any = None
    prior: kalman.Prior | None = None
    layout: str = "complex"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the measurements as modes, (..., n, d)."""
        return self.measurements.shape

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which measurements there are, (..., n, d)."""
        seen = np.ones(self.shape, dtype=bool)
        return seen if self.observed is None else seen & self.observed

    @property
    def clock(self) -> NDArray[Any]:
        """Times (n,), the default filled in."""
        return np.arange(float(self.shape[-2])) if self.times is None else self.times


def series_descriptions(**given: Any) -> st.SearchStrategy[SeriesDescription]:
    """Draw a description; a keyword fixes a field to a value, or to one of several (a list)."""
    choices: dict[str, list[Any]] = {
        "tokens": [4, 1, 2],
        "modes": [2],
        "leading": [(), (2,)],
        "decay": ["ordinary", "zero", "slow"],
        "process": ["ordinary", "zero"],
        "times": ["irregular", "tied", "default", "integers"],
        "gaps": [False, True],
        "prior": [False, True],
        "layout": list(LAYOUTS),
    }
    fixed = {k: x if isinstance(x, list) else [x] for k, x in given.items()}
    fields = {k: st.sampled_from(x) for k, x in (choices | fixed).items()}
    return st.builds(SeriesDescription, seed=st.integers(0, 2**32 - 1), **fields)


def sample_series(it: SeriesDescription) -> DrawnSeries:
    """Return the series of a description: the same numbers on every machine."""
    rng = np.random.default_rng(it.seed)
    shape = (*it.leading, it.tokens, it.modes)
    real = it.layout == "real"
    decay = {"ordinary": 1.0, "zero": 0.0, "slow": 1e-9}[it.decay]
    sde = DiagonalSDE(
        decay * rng.uniform(0.1, 0.8, it.modes),
        (0.0 if real else 1.0) * rng.uniform(-2.0, 2.0, it.modes),
        Noise(
            (it.process == "ordinary") * rng.uniform(0.2, 1.5, it.modes),
            rng.uniform(0.2, 1.5, it.modes),
            rng.uniform(0.2, 1.5, it.modes),
        ),
    )
    z = normal(rng, shape, real=real)
    prior, observed = None, None
    if it.prior:
        mean = normal(rng, (*it.leading, it.modes), real=real)
        prior = kalman.Prior(mean, rng.uniform(0.3, 2.0, it.modes))
    if it.gaps:
        observed = rng.uniform(size=shape) < 0.7
        observed[..., 0, 0] = False
        z = np.where(observed, z, GAP)
    return DrawnSeries(z, _times(it, rng), sde, observed, prior, it.layout)


def normal(rng: np.random.Generator, shape: tuple[int, ...], *, real: bool) -> NDArray[Any]:
    """Return standard normal numbers, real or complex."""
    parts = rng.normal(size=(2, *shape))
    return np.asarray(parts[0] if real else parts[0] + 1j * parts[1])


def run_estimator(
    estimator: Callable[..., Any],
    series: DrawnSeries,
    subject: Subject,
    dtype: str = "float64",
    **options: Any,
) -> Any:
    """Run one of `afa_core.kalman` on the backend; its result in NumPy, means as modes."""

    def send(x: Any) -> Any:
        return subject.from_numpy(np.asarray(x).astype(dtype))

    def write(x: Any) -> Any:
        if series.layout == "real":
            return send(x)
        return subject.from_numpy(write_modes(np.asarray(x), series.layout, np.dtype(dtype)))

    sde = series.sde
    noise = Noise(*(send(x) for x in sde.noise))
    if series.layout != "complex":
        options["layout"] = series.layout
    if series.prior is not None:
        mean, variance = series.prior
        options["prior"] = kalman.Prior(write(mean), send(variance))
    result = estimator(
        write(series.measurements),
        None if series.times is None else subject.from_numpy(series.times),
        type(sde)(send(sde.decay), send(sde.frequency), noise),
        observed=None if series.observed is None else subject.from_numpy(series.observed),
        **options,
    )
    fields = {}
    for name, x in result._asdict().items():
        x = np.asarray(subject.to_numpy(x))
        as_modes = name in MEANS and series.layout not in ("complex", "real")
        fields[name] = read_modes(x, series.layout) if as_modes else x
    return type(result)(**fields)


def isotropic(series: DrawnSeries, mode: int = 0) -> IsotropicSDE:
    """Return the model of one mode as an isotropic one."""
    sde = series.sde
    noise = Noise(*(float(x[mode]) for x in sde.noise))
    return IsotropicSDE(float(sde.decay[mode]), float(sde.frequency[mode]), noise)


def _times(it: SeriesDescription, rng: np.random.Generator) -> Any:
    n = it.tokens
    match it.times:
        case "default":
            return None
        case "integers":
            return np.cumsum(rng.integers(0, 3, n)) - 4
        case "tied":
            return np.cumsum(rng.uniform(0.1, 1.5, n) * rng.integers(0, 2, n)) - 1.0
        case _:
            return np.cumsum(rng.uniform(0.1, 1.5, n)) - 1.0
