"""Maximum-likelihood fit of an Ornstein–Uhlenbeck process with measurement noise, robust or not.

All series are fitted at once, each with parameters of its own. Parameters are searched in units of
the data: the median lag, and a robust standard deviation of each series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afa_core.timeseries.checks import check_measurements
from afa_core.timeseries.curvature import standard_errors
from afa_core.timeseries.innovations import Bools, Floats
from afa_core.timeseries.likelihood import (
    Density,
    Evaluation,
    Parameters,
    Problem,
    evaluate,
    reweighted,
)
from afa_core.timeseries.optimise import Box, minimise
from afa_core.timeseries.progress import Progress
from afa_core.timeseries.starts import start

LOWER, UPPER = -23.0, 7.0
"""Bounds of logarithms, in units of the data."""
QUANTILES = (0.5, 0.75, 0.9, 1.0)
"""Of distances from the median, of which one is the unit of a robust fit."""
ROUNDING = 1e-13
"""Of values, relative to the largest."""
MAX_ROUNDS = 12
SETTLED = 1e-3
"""Change of parameters between rounds, in standard errors, at which reweighting ends."""

LOG_ZERO = -80.0
"""Stands for the logarithm of zero."""
AS_LIKELY = 1e-6
"""Difference of log-likelihoods that is none."""


class KnownParameters(NamedTuple):
    """Parameters that are not fitted, each (s,); None if it is."""

    decay: Floats | None
    process: Floats | None
    measurement: Floats | None
    level: NDArray[Any] | None
    frequency: Floats | None


class Fit(NamedTuple):
    """Parameters of s series, (s,) each, in 1/time, value²/time, value², value and radians/time."""

    decay: Floats
    process: Floats
    measurement: Floats
    level: NDArray[Any]  # complex of pairs; NaN where the decay is zero
    frequency: Floats
    log_likelihood: Floats
    standard_errors: dict[str, NDArray[Any]]  # of those that were fitted, NaN where not determined
    fitted: NDArray[np.int_]  # number of fitted parameters, (s,)


class Units(NamedTuple):
    """Units of the data."""

    center: NDArray[Any]  # (s, 1)
    scale: Floats  # (s, 1)
    step: float


def fit(
    values: NDArray[Any],
    times: Floats,
    observed: Bools,
    given: KnownParameters,
    *,
    names: Sequence[str],
    dof: float | None,
    progress: Progress,
) -> Fit:
    """Fit the parameters that are not given.

    Parameters
    ----------
    values : array, shape (s, n)
        Measurements of s series; complex of pairs. They are read where observed.
    times : array, shape (n,)
        Not decreasing.
    observed : boolean array, shape (s, n)
    given : KnownParameters
    names : sequence of str
        Of the series, for messages.
    dof : float or None
        ν of the Student-t; None for the normal density.
    progress : callable
        Takes the steps of an iteration and its title, and returns the steps.

    Returns
    -------
    Fit
        A fitted decay or process noise is zero where that has the largest likelihood. A fitted
        level is within the range of the measurements.

    Raises
    ------
    ValueError
        If the measurements do not determine the parameters.

    References
    ----------
    Spec §11; J. Durbin and S. J. Koopman, "Time Series Analysis by State Space Methods"; for
    scoring with reweighting, K. L. Lange, R. J. A. Little and J. M. G. Taylor, "Robust statistical
    modeling using the t distribution", 1989.
    """
    fitted = [name for name, x in given._asdict().items() if x is None and name != "level"]
    values = values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
    check_measurements(values, times, observed, fitted, names)
    units = _units(values, times, observed, robust=dof is not None)
    parts = 2 if np.iscomplexobj(values) else 1
    scaled = np.where(observed, (values - units.center) / units.scale, 0.0)
    problem = Problem(
        scaled,
        (times - times[0]) / units.step,
        observed,
        np.ones(observed.shape),
        Density.of(parts, dof),
    )
    box = _box(problem, given, units)
    problem, table = _maximise(problem, start(problem, box), box, progress)
    table = _without_zeros(problem, table, box)
    problem = reweighted(problem, Parameters(table))
    found = _in_units_of_values(problem, table, box, units)
    exact = {name: x for name, x in given._asdict().items() if x is not None}
    if given.level is not None:
        exact["level"] = np.where(found.decay > 0.0, given.level, np.nan)
    return found._replace(**exact)


def _units(values: NDArray[Any], times: Floats, observed: Bools, *, robust: bool) -> Units:
    """Return the median, the spread about it, and the median lag.

    The spread is the root mean square, or if robust the least of some quantiles that is not zero:
    many measurements of one value have none.
    """
    shown = np.where(observed, values, np.nan)
    components = np.stack([shown.real, shown.imag]) if np.iscomplexobj(values) else shown[None]
    center = np.nanmedian(components, axis=-1, keepdims=True)  # (parts, s, 1)
    distance = np.max(np.abs(components - center), axis=0)  # (s, n)
    if robust:
        quantiles = np.nanquantile(distance, QUANTILES, axis=-1)[..., None]  # (q, s, 1)
        rounding = ROUNDING * np.nanmax(np.abs(components), axis=(0, -1))[:, None]
        first = np.argmax(quantiles > rounding, axis=0)[None]
        scale = np.take_along_axis(quantiles, first, axis=0)[0]
    else:
        scale = np.sqrt(np.nanmean(distance**2, axis=-1, keepdims=True))
    lag = np.diff(times)
    lag = lag[lag > 0.0]
    middle = center[0] + 1j * center[1] if len(center) == 2 else center[0]
    step = float(np.median(lag)) if lag.size else 1.0
    return Units(middle, np.where(scale > 0.0, scale, 1.0), step)


def _box(problem: Problem, given: KnownParameters, units: Units) -> Box:
    """Return the bounds of all parameters, (s, k): equal for those that are given."""
    series, pair = len(problem.values), problem.density.parts == 2
    shown = np.where(problem.observed, problem.values, np.nan)
    components = [shown.real, shown.imag] if pair else [shown]
    ones = np.ones(series)
    lower = [LOWER * ones] * 3 + [np.nanmin(x, axis=-1) for x in components]
    upper = [UPPER * ones] * 3 + [np.nanmax(x, axis=-1) for x in components]
    if pair:
        lower.append(-np.inf * ones)
        upper.append(np.inf * ones)
    scale = units.scale[:, 0]
    scaled = {
        0: None if given.decay is None else given.decay * units.step,
        1: None if given.process is None else given.process * units.step / scale / scale,
        2: None if given.measurement is None else given.measurement / scale / scale,
    }
    for place, x in scaled.items():
        if x is not None:
            with np.errstate(divide="ignore"):
                lower[place] = upper[place] = np.maximum(np.log(x), LOG_ZERO)
    if given.level is not None:
        level = (given.level - units.center[:, 0]) / scale
        for place, x in enumerate([level.real, level.imag] if pair else [level], start=3):
            lower[place] = upper[place] = x
    if pair and given.frequency is not None:
        lower[5] = upper[5] = given.frequency * units.step
    return Box(np.stack(lower, axis=-1), np.stack(upper, axis=-1))


def _maximise(
    problem: Problem, table: Floats, box: Box, progress: Progress
) -> tuple[Problem, Floats]:
    """Return the maximisers, and the problem with the reliabilities that agree with them."""

    def titled(steps: Iterable[int]) -> Iterable[int]:
        return progress(steps, "fitting")

    for _ in range(MAX_ROUNDS if problem.density.dof is not None else 1):
        problem = reweighted(problem, Parameters(table))
        before = table
        table, found = minimise(_losses(problem), table, box, titled)
        precision = np.sqrt(np.einsum("skk->sk", found.information))
        if np.max(np.abs(table - before) * precision) < SETTLED:
            break
    return problem, table


def _losses(problem: Problem) -> Callable[[Floats], Evaluation]:
    return lambda table: evaluate(problem, Parameters(table))


def _without_zeros(problem: Problem, table: Floats, box: Box) -> Floats:
    """Set a fitted decay to zero where that is as likely, and then the process noise."""

    def losses(table: Floats) -> Floats:
        parameters = Parameters(table)
        return evaluate(reweighted(problem, parameters), parameters).loss

    for place in (0, 1):
        free = box.lower[:, place] < box.upper[:, place]
        zero = table.copy()
        zero[:, place] = LOG_ZERO
        as_likely = losses(zero) <= losses(table) + AS_LIKELY
        table = np.where((free & as_likely)[:, None], zero, table)
    return table


def _in_units_of_values(problem: Problem, table: Floats, box: Box, units: Units) -> Fit:
    """Return the fit, with standard errors."""
    pair = problem.density.parts == 2
    scale, step = units.scale[:, 0], units.step
    decay, process, measurement = np.where(table[:, :3] > LOG_ZERO, np.exp(table[:, :3]), 0.0).T
    reverting = decay > 0.0
    level = table[:, 3] + 1j * table[:, 4] if pair else table[:, 3]
    loss = evaluate(problem, Parameters(table)).loss
    counted = np.sum(problem.counted, axis=-1)
    free = box.lower < box.upper
    free[:, 3 : 3 + problem.density.parts] &= reverting[:, None]
    inside = (table > box.lower) & (table < box.upper)
    errors = standard_errors(_losses(problem), table, free & inside)
    found = {
        "decay": decay / step,
        "process": process * scale**2 / step,
        "measurement": measurement * scale**2,
    }
    named = {name: x * errors[:, place] for place, (name, x) in enumerate(found.items())}
    named["level"] = (errors[:, 3] + 1j * errors[:, 4] if pair else errors[:, 3]) * scale
    if pair:
        named["frequency"] = errors[:, 5] / step
    places = {"decay": 0, "process": 1, "measurement": 2, "level": 3, "frequency": 5}
    varied = np.any(box.lower < box.upper, axis=0)
    return Fit(
        **found,
        level=np.where(reverting, units.center[:, 0] + scale * level, np.nan),
        frequency=table[:, 5] / step if pair else np.zeros(len(table)),
        log_likelihood=-loss - counted * problem.density.parts * np.log(scale),
        standard_errors={name: x for name, x in named.items() if varied[places[name]]},
        fitted=np.sum(free, axis=-1),
    )
