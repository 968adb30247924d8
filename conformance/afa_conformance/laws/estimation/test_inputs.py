"""Arguments are not modified (spec §8, §11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.drawing import drawn
from afa_conformance.runner import fetch, write_modes
from afa_conformance.series import (
    SeriesDescription,
    normal,
    run_estimator,
    sample_series,
    series_descriptions,
)
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise, RadialTangentialSDE, kalman
from afa_core.model.simulate import simulate

pytestmark = pytest.mark.asserts

ESTIMATORS = (kalman.filter, kalman.smoother, kalman.batch_mle, kalman.robust_filter)
SERIES: dict[str, Any] = {"tokens": 4, "leading": (), "times": ["irregular", "tied", "integers"]}
FORMS = ("isotropic", "diagonal", "radial_tangential")


def arrays(x: Any) -> Iterator[Any]:
    """Yield all arrays in arguments, tuples and lists."""
    if isinstance(x, tuple | list):
        for each in x:
            yield from arrays(each)
    elif hasattr(x, "dtype"):
        yield x


def checked(function: Callable[..., Any], subject: Subject) -> Callable[..., Any]:
    """Return the function, asserting that it modifies no argument."""

    def call(*positional: Any, **options: Any) -> Any:
        inputs = list(arrays([*positional, *options.values()]))
        before = [np.array(fetch(x, subject)) for x in inputs]
        result = function(*positional, **options)
        for x, old in zip(inputs, before, strict=True):
            new = np.asarray(fetch(x, subject))
            assert (new.dtype, new.shape) == (old.dtype, old.shape)
            assert new.tobytes() == old.tobytes(), f"{old} became {new}"
        return result

    return call


@pytest.mark.many_shapes
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: each.__name__)
@pytest.mark.fewer_examples(2)
@drawn(description=series_descriptions(**SERIES))
def test_nothing_is_written(
    subject: Subject, estimator: Callable[..., Any], dtype: str, description: SeriesDescription
) -> None:
    """Spec §8: measurements, times, `observed`, parameters and prior keep their bits."""
    if estimator is kalman.batch_mle:
        description = replace(description, prior=False)
    run_estimator(checked(estimator, subject), sample_series(description), subject, dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(description=series_descriptions(gaps=False, prior=False, **SERIES))
def test_simulation_writes_nothing(
    subject: Subject, form: str, description: SeriesDescription
) -> None:
    """Spec §8: times, parameters and the initial state keep their bits."""
    series = sample_series(description)
    send = subject.from_numpy
    start = normal(
        np.random.default_rng(description.seed),
        (*description.leading, description.modes),
        real=description.layout == "real",
    )
    layout = {} if description.layout == "complex" else {"layout": description.layout}
    plain = description.layout in ("complex", "real")
    decay, frequency, noise = series.sde
    sde: Any = type(series.sde)(send(decay), send(frequency), Noise(*map(send, noise)))
    if form != "diagonal":
        single_noise = Noise(*(send(np.asarray(x[0])) for x in noise))
        decay = send(np.asarray(decay[0]))
        sde = IsotropicSDE(decay, send(frequency), single_noise)
        if form == "radial_tangential":
            sde = RadialTangentialSDE(decay, send(frequency), single_noise, single_noise)
    checked(simulate, subject)(
        sde,
        send(series.explicit_times),
        initial=send(start if plain else write_modes(start, description.layout)),
        rng=np.random.default_rng(description.seed),
        **layout,
    )
