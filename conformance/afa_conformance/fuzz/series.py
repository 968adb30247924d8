"""Random calls of the exact filter and the smoother, compared with textbook formulas."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_conformance.closeness import SPACING, compare
from afa_conformance.oracles import textbook
from afa_conformance.series import (
    LAYOUTS,
    DrawnSeries,
    SeriesDescription,
    run_estimator,
    sample_series,
)
from afa_conformance.subject import Subject
from afa_core import kalman
from afa_core.kalman import Filtered

ROUNDINGS = 2.0**15
TOKENS = (1, 2, 3, 4, 8, 17)


def check_filter(subject: Subject, dtype: str, rng: np.random.Generator) -> None:
    """Compare the filter, by either method, with the recursion of every mode."""
    description = _draw(rng, prior=bool(rng.integers(2)))
    series = sample_series(description)
    method = ("scan", "sequential")[rng.integers(2)]
    found = run_estimator(kalman.filter, series, subject, dtype, method=method)
    for (*own, k), mode in textbook.modes(series):
        expected = Filtered(*map(np.asarray, textbook.kalman_filter(mode)))
        for name, x in expected._asdict().items():
            at = (*own, k) if name == "log_likelihood" else (*own, slice(None), k)
            _compare(f"{name} by {method}", getattr(found, name)[at], x, description, dtype)


def check_smoother(
    subject: Subject, reference: Subject, dtype: str, rng: np.random.Generator
) -> None:
    """Compare the smoother with dense least squares in double precision."""
    description = _draw(rng, prior=False)
    series: DrawnSeries = sample_series(description)
    found = run_estimator(kalman.smoother, series, subject, dtype)
    expected = run_estimator(kalman.batch_mle, series, reference, causal=False)
    for name in ("mean", "variance"):
        _compare(name, getattr(found, name), getattr(expected, name), description, dtype)


def _draw(rng: np.random.Generator, *, prior: bool) -> SeriesDescription:
    choices: dict[str, tuple[Any, ...]] = {
        "tokens": TOKENS,
        "modes": (1, 2, 3),
        "leading": ((), (2,), (2, 1)),
        "decay": ("ordinary", "zero", "slow"),
        "process": ("ordinary", "ordinary", "zero"),
        "times": ("irregular", "tied", "default", "integers"),
        "gaps": (False, True),
        "layout": LAYOUTS,
    }
    drawn = {name: x[rng.integers(len(x))] for name, x in choices.items()}
    return SeriesDescription(**drawn, prior=prior, seed=int(rng.integers(2**32)))


def _compare(
    name: str, found: Any, expected: Any, description: SeriesDescription, dtype: str
) -> None:
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(np.max(finite, initial=1.0))
    try:
        comparison = compare(found, expected, ROUNDINGS * SPACING[dtype], scale=scale)
        if comparison is not None:
            comparison.check()
    except AssertionError as error:
        raise AssertionError(f"{name} of {description!r}: {error}") from error
