"""Measured series: small descriptions to draw, their numbers, and estimators run on them.

Hypothesis draws and shrinks a `SeriesDescription`. `sample_series` makes its numbers from the seed,
in double precision, as complex modes with parameters per mode; `run_estimator` sends them to the
library.
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
    """The shape and regime of a series, and the seed of its numbers.

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
        In the layout "real" numbers are real and frequencies zero.
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
    """Measurements (..., n, d), NaN where missing, and a `DiagonalSDE` of arrays (d,).

    In the layout "real" they are real numbers, otherwise complex modes.
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
    def present(self) -> NDArray[np.bool_]:
        """Which measurements exist, (..., n, d)."""
        present = np.ones(self.shape, dtype=bool)
        return present if self.observed is None else present & self.observed

    @property
    def explicit_times(self) -> NDArray[Any]:
        """Times (n,), also where they are left to the default."""
        return np.arange(float(self.shape[-2])) if self.times is None else self.times


def series_descriptions(**fixed: Any) -> st.SearchStrategy[SeriesDescription]:
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
    choices |= {name: x if isinstance(x, list) else [x] for name, x in fixed.items()}
    fields = {name: st.sampled_from(each) for name, each in choices.items()}
    return st.builds(SeriesDescription, seed=st.integers(0, 2**32 - 1), **fields)


def sample_series(description: SeriesDescription) -> DrawnSeries:
    """Return the series of a description: the same numbers on every machine."""
    rng = np.random.default_rng(description.seed)
    shape = (*description.leading, description.tokens, description.modes)
    real = description.layout == "real"
    decay = {"ordinary": 1.0, "zero": 0.0, "slow": 1e-9}[description.decay]
    sde = DiagonalSDE(
        decay * rng.uniform(0.1, 0.8, description.modes),
        (0.0 if real else 1.0) * rng.uniform(-2.0, 2.0, description.modes),
        Noise(
            (description.process == "ordinary") * rng.uniform(0.2, 1.5, description.modes),
            rng.uniform(0.2, 1.5, description.modes),
            rng.uniform(0.2, 1.5, description.modes),
        ),
    )
    z = normal(rng, shape, real=real)
    prior, observed = None, None
    if description.prior:
        mean = normal(rng, (*description.leading, description.modes), real=real)
        prior = kalman.Prior(mean, rng.uniform(0.3, 2.0, description.modes))
    if description.gaps:
        observed = rng.uniform(size=shape) < 0.7
        observed[..., 0, 0] = False
        z = np.where(observed, z, GAP)
    return DrawnSeries(z, _times(description, rng), sde, observed, prior, description.layout)


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
    """Return the result of an estimator of `afa_core.kalman` in NumPy, means as complex modes."""

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
    """Return the isotropic model with the parameters of one mode."""
    sde = series.sde
    noise = Noise(*(float(x[mode]) for x in sde.noise))
    return IsotropicSDE(float(sde.decay[mode]), float(sde.frequency[mode]), noise)


def _times(description: SeriesDescription, rng: np.random.Generator) -> Any:
    n = description.tokens
    match description.times:
        case "default":
            return None
        case "integers":
            return np.cumsum(rng.integers(0, 3, n)) - 4
        case "tied":
            return np.cumsum(rng.uniform(0.1, 1.5, n) * rng.integers(0, 2, n)) - 1.0
        case _:
            return np.cumsum(rng.uniform(0.1, 1.5, n)) - 1.0
