"""The prediction of an estimate is its mean propagated by the dynamics of values (spec §10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

import afa_core
from afa_conformance.descriptions import DTYPES, HALVES, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.estimates.rates import layout_of, rates
from afa_conformance.problems import DrawnProblem
from afa_conformance.runner import read, send
from afa_conformance.sampling import TICK, sample_problem
from afa_conformance.subject import Subject

pytestmark = pytest.mark.needs("library")
MIN_NORMAL = {
    "float64": 2.0**-1022,
    "float32": 2.0**-126,
    "bfloat16": 2.0**-126,
    "float16": 2.0**-14,
}
"""The smallest normal numbers; smaller results lose digits."""
HORIZONS = st.sampled_from(["number", "tokens", "each"])


def draw_horizon(problem: DrawnProblem, kind: str, seed: int) -> Any:
    """Return horizons: a number, (m,), or (..., m); zero is among them."""
    rng = np.random.default_rng(seed)
    if kind == "number":
        return float(rng.integers(1, 3000) * TICK)
    tokens = problem.value.shape[-2]
    shape = (tokens,) if kind == "tokens" else (*problem.value.shape[:-2], tokens)
    return rng.integers(0, 3000, shape) * TICK


def predict(problem: DrawnProblem, horizon: Any, subject: Subject) -> NDArray[Any]:
    """Return predictions from the values in place of estimates, as complex modes in NumPy."""
    sent = send(problem, subject)
    if isinstance(horizon, np.ndarray):
        horizon = subject.from_numpy(horizon.astype(subject.times_dtypes["f"]))
    found = afa_core.predict(sent.value, sent.sde, horizon, **layout_of(problem))
    assert found.dtype == sent.value.dtype
    return read(found, problem, subject)


def phase(problem: DrawnProblem, horizon: Any) -> NDArray[Any]:
    """Return λh, (..., m, d)."""
    return np.asarray(rates(problem, "value")[..., None, :] * np.asarray(horizon)[..., None])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.fewer_examples(2)
@drawn(description=descriptions(dtype=None), kind=HORIZONS)
def test_prediction_is_the_flow(
    subject: Subject, dtype: str, description: Description, kind: str
) -> None:
    """Spec §10: e^{λh}x̂, with the frequencies of values, in the kind, layout and dtype of x̂.

    To 4 ε (1 + |λh|).
    """
    layout = "interleaved" if dtype in HALVES else description.layout
    problem = sample_problem(description.having(dtype=dtype, layout=layout))
    horizon = draw_horizon(problem, kind, description.seed)
    exponent = phase(problem, horizon)
    expected = np.exp(exponent) * problem.value
    tolerance = 4 * problem.eps * (1.0 + np.max(np.abs(exponent)))
    largest = max(float(np.max(np.abs(expected))), MIN_NORMAL[dtype])
    subject.assert_close(predict(problem, horizon, subject), expected, tolerance, scale=largest)


@drawn(description=descriptions(dtype=["float64", "float32"]))
def test_predictions_compose(subject: Subject, description: Description) -> None:
    """Spec §2, §10: predicting twice equals predicting over the sum of horizons.

    To 8 ε (1 + |λh|).
    """
    problem = sample_problem(description)
    first, second = (draw_horizon(problem, "tokens", description.seed + i) for i in (0, 1))
    sent, options = send(problem, subject), layout_of(problem)
    mean = sent.value
    for horizon in (first, second):
        ahead = subject.from_numpy(horizon.astype(subject.times_dtypes["f"]))
        mean = afa_core.predict(mean, sent.sde, ahead, **options)
    expected = predict(problem, first + second, subject)
    tolerance = 8 * problem.eps * (1.0 + np.max(np.abs(phase(problem, first + second))))
    subject.assert_close(read(mean, problem, subject), expected, tolerance)


@drawn(
    description=descriptions(
        form="isotropic", decay="zero", rotation=["shared", "own"], dtype=["float64", "float32"]
    )
)
def test_time_runs_forward(subject: Subject, description: Description) -> None:
    """Spec §1: an undamped mode rotates by +ωh: the difference quotient at h = 16 √ε is iωx."""
    problem = sample_problem(description)
    step = 16.0 * np.sqrt(problem.eps)
    got = (predict(problem, float(step), subject) - problem.value) / step
    rate = rates(problem, "value")[..., None, :]
    subject.assert_close(
        got, rate * problem.value, step, scale=float(np.max(np.abs(problem.value)))
    )
