"""Gradients of the exact estimators are right: with gaps, ties, no noise, no decay (spec §11)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.numerics import derivative
from afa_conformance.runner import write_modes
from afa_conformance.series import DrawnSeries, SeriesDescription, sample_series
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, Noise, kalman
from afa_core._array.arrays import namespace

ESTIMATORS: dict[str, Callable[..., Any]] = {
    "filter": kalman.filter,
    "smoother": kalman.smoother,
    "sequential filter": partial(kalman.filter, method="sequential"),
    "sequential smoother": partial(kalman.smoother, method="sequential"),
    "batch_mle": kalman.batch_mle,
    "robust_filter": kalman.robust_filter,
}
REGIMES = {
    "ordinary": SeriesDescription(tokens=4),
    "gaps": SeriesDescription(tokens=4, gaps=True, times="tied"),
    "no decay": SeriesDescription(tokens=4, decay="zero"),
    "zero": SeriesDescription(tokens=4, decay="zero", process="zero"),
}


def loss(name: str, series: DrawnSeries, send: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a smooth number made of all results, a function of data and parameters."""
    times, observed = send(series.explicit_times), send(series.present)

    def total(z: Any, decay: Any, frequency: Any, process: Any, measurement: Any) -> Any:
        xp = namespace(z=z)
        sde = DiagonalSDE(decay, frequency, Noise(process, measurement, 0.0))
        result = ESTIMATORS[name](z, times, sde, observed=observed)
        terms = (xp.sum(xp.tanh(xp.where(xp.isfinite(x), x, 0.0))) for x in result)
        return sum(terms)

    return total


@pytest.mark.many_shapes
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradient(subject: Subject, name: str, regime: str) -> None:
    """Spec §13: derivatives of all results equal finite differences along a direction, to 1e-7.

    They are finite, and zero for missing measurements.
    """
    assert subject.grad is not None
    series = sample_series(REGIMES[regime])
    sde = series.sde
    z = write_modes(series.measurements, "interleaved")
    at: list[Any] = [z, sde.decay, sde.frequency, sde.noise.process, sde.noise.measurement]
    sent = [subject.from_numpy(np.asarray(x)) for x in at]
    gradients = [
        np.asarray(subject.to_numpy(x))
        for x in subject.grad(loss(name, series, subject.from_numpy), *sent)
    ]
    assert all(np.all(np.isfinite(x)) for x in gradients)
    hidden = np.repeat(~series.present, 2, axis=-1)
    assert not np.any(gradients[0][hidden])

    rng = np.random.default_rng(0)
    plain = loss(name, series, np.asarray)
    filled = [np.nan_to_num(at[0]), *at[1:]]
    for k, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)

        def along(step: float, k: int = k, direction: NDArray[Any] = direction) -> float:
            moved = list(filled)
            moved[k] = filled[k] + step * direction
            return float(plain(*moved))

        expected = derivative(along, 0.0, 1e-4)
        subject.assert_close(
            np.sum(gradient * direction), expected, 1e-7, scale=1.0 + abs(expected)
        )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_compiled(subject: Subject, name: str) -> None:
    """Spec §8: compiled estimators give the uncompiled results, to 1e-13."""
    series = sample_series(SeriesDescription(tokens=2, gaps=True))
    send = subject.from_numpy
    observed = send(series.present)
    options = {"iterations": 1} if name == "robust_filter" else {}

    def run(z: Any, times: Any, decay: Any) -> tuple[Any, ...]:
        sde = DiagonalSDE(decay, 0.5, Noise(0.3, 0.8, 0.0))
        return tuple(ESTIMATORS[name](z, times, sde, observed=observed, **options))

    arguments = (
        send(write_modes(series.measurements, "interleaved")),
        send(series.explicit_times),
        send(np.asarray(series.sde.decay)),
    )
    for one, other in zip(run(*arguments), subject.compile(run)(*arguments), strict=True):
        subject.assert_close(subject.to_numpy(other), subject.to_numpy(one), 1e-13)
