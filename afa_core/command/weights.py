"""The attention weights of the last measurements, for a picture."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core.attention import attention_weights
from afa_core.command.series import Fitted, elapsed
from afa_core.model.sde import IsotropicSDE, Noise
from afa_core.model.weighting import Rational, Uniform

MAX_SHOWN = 600
"""Measurements whose weights are shown."""


class Weights(NamedTuple):
    """The weights of the last k measurements of a series in the estimates at their times."""

    times: Any  # (k,)
    matrix: Any  # (k, k), a row for each estimate


def latest_weights(fitted: Fitted, column: int) -> Weights:
    """Return the weights in the estimates of the filter, of the series that a column belongs to.

    The keys are as many measurements again before those that are shown; still earlier ones are
    left out.
    """
    import numpy as np

    model, found = fitted.model, fitted.found
    assert found is not None
    paired = found.layout.paired
    place = column // 2 if paired else column
    columns = [2 * place, 2 * place + 1] if paired else [column]

    def series(x: Any) -> Any:
        """Return the series of a table as complex numbers."""
        return x[:, columns] @ np.asarray([1.0 + 0.0j, 1.0j][: len(columns)])

    def parameter(name: str) -> Any:
        return np.ravel(getattr(model, f"{name}_"))[place]

    kept = np.flatnonzero(np.isfinite(series(found.values)))[-2 * MAX_SHOWN :]
    decay, measurement = parameter("decay"), parameter("measurement")
    level = parameter("level") if decay > 0.0 else 0.0
    values, predicted = (series(x)[kept] - level for x in (found.values, found.prediction))
    variance = found.prediction_sd[kept, column] ** 2 - measurement
    known = np.isfinite(variance) & np.isfinite(predicted)
    tokens, times = values[:, None], elapsed(fitted)[kept]
    matrix = attention_weights(
        np.where(known, predicted, values)[:, None],
        tokens,
        tokens,
        IsotropicSDE(
            decay, parameter("frequency"), Noise(parameter("process"), measurement, measurement)
        ),
        weighting=Rational(model.dof) if model.robust else Uniform(),
        query_times=times,
        key_times=times,
        query_variance=np.where(known, variance, measurement),
        causal=True,
        correlated=True,
    )
    shown = kept[-MAX_SHOWN:]
    return Weights(found.times.to_numpy()[shown], np.asarray(matrix)[-len(shown) :, -len(shown) :])
