"""Correlated keys before the window are left out, with a bound (spec §14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

import afa_core
from afa_conformance.descriptions import WEIGHTINGS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.window.test_window import (
    HIDDEN,
    LENGTH,
    PLAIN,
    SPAN,
    TILE,
    WINDOW,
    WINDOWED,
    accepted,
    bound,
    hiding,
    windowed,
)
from afa_conformance.problems import (
    DrawnProblem,
    completed,
    condition,
    in_arrays,
    leaves,
    with_leaves,
)
from afa_conformance.runner import arguments, run_attention, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core._array.arrays import namespace

CORRELATED = PLAIN | {
    "correlated": True, "times": ["default", "irregular", "tied", "integers"],
    "queries": LENGTH, "keys": LENGTH,
}  # fmt: skip
FIRST = LENGTH % TILE + SPAN
"""Number of tokens before all blocks."""


def kept() -> NDArray[np.bool_]:
    """Return which keys are evaluated for which queries, (n, m): those near their block."""
    place = np.arange(LENGTH)
    block = FIRST + (place - FIRST) // TILE * TILE
    first = np.where(place < FIRST, 0, block - SPAN)
    return (place >= first[:, None]) & (place <= place[:, None])


def restricted(problem: DrawnProblem, subject: Subject) -> NDArray[Any]:
    """Return Σ_j A_ij e^{λΔ_ij} v_j, with the weights A of all keys normalised over those kept."""
    positional, options = arguments(send(problem, subject))
    weights = subject.to_numpy(afa_core.attention_weights(*positional, **options))
    weights = np.where(kept(), weights.astype(np.float64), 0.0)
    total = np.sum(weights, axis=-1, keepdims=True)
    weights = weights / np.where(total > 0.0, total, 1.0)
    problem = completed(problem)
    lag = (
        np.asarray(problem.query_times)[..., :, None] - np.asarray(problem.key_times)[..., None, :]
    )
    lag = np.where(kept(), lag, 0.0)[..., None]
    decay, frequency = np.asarray(problem.sde.decay), np.asarray(problem.sde.value_frequency)
    decay = decay[..., None, None, None] if decay.ndim else decay
    frequency = frequency[..., None, None, :] if frequency.ndim else frequency
    transition = np.exp(-decay * lag + 1j * frequency * lag)
    return np.asarray(
        np.sum(weights[..., None] * transition * problem.value[..., None, :, :], axis=-2)
    )


def unread(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem with NaN in its hidden keys and their values and times."""
    if problem.mask is None:
        return problem
    hidden = ~np.broadcast_to(problem.mask, (*problem.leading, 1, LENGTH))[..., 0, :]
    changes: dict[str, Any] = {}
    for name in ("key", "value"):
        x = getattr(problem, name)
        x = np.broadcast_to(x, (*problem.leading, *x.shape[-2:]))
        changes[name] = np.where(hidden[..., None], np.nan, x)
    times = problem.key_times
    if times is not None and np.asarray(times).dtype.kind == "f":
        changes["key_times"] = np.where(hidden, np.nan, times)
    return replace(problem, **changes)


@pytest.mark.many_shapes
@drawn(description=descriptions(**CORRELATED), hidden=HIDDEN)
def test_window_over_all_keys(subject: Subject, description: Description, hidden: float) -> None:
    """Spec §14: with all keys in the window it is attention, to 16 ε times the condition.

    Its bound is 0, as it is where all keys before the window are hidden.
    """
    problem = hiding(sample_problem(description), hidden)
    expected = run_attention(problem, subject)
    tolerance = 16 * problem.eps * condition(problem)
    subject.assert_close(windowed(problem, subject, window=LENGTH), expected, tolerance)
    late = replace(problem, mask=np.arange(LENGTH)[None, :] >= LENGTH - WINDOW)
    for found in (bound(problem, subject, window=LENGTH), bound(late, subject, window=WINDOW)):
        subject.assert_close(found, np.zeros_like(found), 0.0)


@pytest.mark.many_shapes
@drawn(description=descriptions(**CORRELATED), hidden=HIDDEN)
def test_weights_are_those_of_all_keys(
    subject: Subject, description: Description, hidden: float
) -> None:
    """Spec §14: weights a_ij w_ij of the whole sequence, normalised over the keys that are kept.

    To 64 ε times the condition of the problem. Of hidden keys nothing is read, and a query
    without a visible key has the estimate zero.
    """
    problem = hiding(sample_problem(description), hidden)
    found = windowed(unread(problem), subject, window=WINDOW)
    scale = float(np.max(np.abs(problem.value)))
    tolerance = 64 * problem.eps * condition(problem)
    subject.assert_close(found, restricted(problem, subject), tolerance, scale=scale)


@pytest.mark.asserts
@pytest.mark.many_shapes
@drawn(
    description=descriptions(**CORRELATED),
    hidden=HIDDEN,
    change=st.one_of(st.none(), st.integers(1, LENGTH - 1)),
)
def test_error_is_within_its_bound(
    subject: Subject, description: Description, hidden: float, change: int | None
) -> None:
    """Spec §14: the error of every query is at most `window_error`, plus rounding.

    Also where all values are equal, but for a sign that changes at one token, and keys from there
    on are far from all queries, so that robust weights prefer the keys that are left out. Rounding
    is 16 ε max|v| times the condition of the problem.
    """
    problem = hiding(sample_problem(description), hidden)
    if change is not None:
        early = np.arange(LENGTH)[:, None] < change
        problem = replace(
            problem,
            query=0.0 * problem.query,
            key=np.where(early, 0.0, 30.0 * problem.key),
            value=np.where(early, 1.0, -1.0) * problem.value[..., :1, :],
        )
    found, exact = windowed(problem, subject, window=WINDOW), run_attention(problem, subject)
    error = np.max(np.linalg.norm(found - exact, axis=-1), axis=-1)
    rounding = 16 * problem.eps * condition(problem) * np.max(np.abs(problem.value))
    assert np.all(error <= bound(problem, subject, window=WINDOW) + rounding)


@pytest.mark.many_shapes
@pytest.mark.needs("float64")
@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        **CORRELATED, leading=(), decay="zero", rotation="off", noise="ordinary",
        weighting=["uniform", "rational"],
    )
)  # fmt: skip
def test_bound_is_attained(subject: Subject, description: Description) -> None:
    """Spec §14: without decay, and with w = 1, some values attain the bound, to 64 ε of them.

    They change their sign at the first key that is kept for the query for which those before it
    have the greatest influence. Queries and keys are zero, so that every residual is.
    """
    problem = sample_problem(description)
    problem = replace(problem, query=0.0 * problem.query, key=0.0 * problem.key)
    positional, options = arguments(send(problem, subject))
    weights = subject.to_numpy(afa_core.attention_weights(*positional, **options))
    dropped = np.cumsum(weights, axis=-1)[np.arange(SPAN, LENGTH), np.arange(LENGTH - SPAN)]
    change = int(np.argmax(dropped)) + 1
    sign = np.where(np.arange(LENGTH) < change, 1.0, -1.0)[:, None]
    problem = replace(problem, value=sign * problem.value[..., :1, :])
    found = windowed(problem, subject, window=SPAN - 1, tile=1)
    error = np.max(np.linalg.norm(found - run_attention(problem, subject), axis=-1))
    largest = float(np.max(np.linalg.norm(problem.value, axis=-1)))
    expected = bound(problem, subject, window=SPAN)
    subject.assert_close(error, expected, 64 * problem.eps, scale=largest)


@pytest.mark.asserts
@pytest.mark.many_shapes
@pytest.mark.needs("float64")
@drawn(
    description=descriptions(
        **CORRELATED | {"times": "regular"}, weighting=list(WEIGHTINGS), noise="ordinary",
        decay=["ordinary", "zero", "slow"],
    )
)  # fmt: skip
def test_bound_has_a_limit(subject: Subject, description: Description) -> None:
    """Spec §14: the bound is at most 2 max|v|, and far less where the influence has faded.

    After 8 tokens with V ≥ 400 η² for each the influence of earlier keys is below 400^{−8}.
    """
    problem = sample_problem(description)
    largest = np.max(np.linalg.norm(problem.value, axis=-1))
    assert np.all(bound(problem, subject, window=WINDOW) <= 2.0 * largest * (1.0 + 1e-9))
    noise = problem.sde.noise
    fast = problem.sde._replace(
        noise=noise._replace(process=4000.0 * np.asarray(noise.measurement))
    )
    problem = replace(problem, sde=fast, query=0.0 * problem.query, key=0.0 * problem.key)
    assert np.all(bound(problem, subject, window=WINDOW + 1) <= 1e-15 * largest)


@pytest.mark.many_shapes
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighting", ["student", "gaussian", "rational", "uniform"])
def test_gradients(subject: Subject, weighting: str, masked: bool) -> None:
    """Spec §13: derivatives are those of the weights of all keys, normalised over those kept.

    To 1024 ε times the condition of the problem, of the largest entry of each derivative plus 1 %
    of the largest of all. No key is at its query's time.
    """
    description = Description(
        queries=LENGTH, keys=LENGTH, weighting=weighting, dtype=subject.dtype, leading=(2,),
        layout="interleaved", rotation="off", correlated=True, query_variance=True,
    )  # fmt: skip
    problem = in_arrays(hiding(sample_problem(description), 0.3 if masked else 0.0))
    times = np.arange(LENGTH, dtype=np.float64)
    sent = send(replace(problem, query_times=times + 0.25, key_times=times), subject)
    constant = ("inverse_temperature", "mask", "sde.frequency", "sde.value_frequency")
    taken = {name: x for name, x in leaves(sent).items() if name not in constant}
    factors = np.random.default_rng(0).normal(size=(2, LENGTH, 2 * problem.value_modes))
    factors, near = subject.from_numpy(factors), subject.from_numpy(kept())

    def changed(arrays: tuple[Any, ...]) -> DrawnProblem:
        return with_leaves(sent, dict(zip(taken, arrays, strict=True)))

    def exactly(*arrays: Any) -> Any:
        xp, given = namespace(x=arrays[0]), changed(arrays)
        positional, options = arguments(given)
        weights = xp.where(near, afa_core.attention_weights(*positional, **options), 0.0)
        total = xp.sum(weights, axis=-1)[..., None]
        lag = xp.where(near, given.query_times[:, None] - given.key_times, 0.0)
        weights = weights / xp.where(total > 0.0, total, 1.0)
        carried = weights * xp.exp(-given.sde.decay[:, None, None] * lag)
        return xp.sum((carried @ xp.astype(given.value, carried.dtype)) * factors)

    def nearly(*arrays: Any) -> Any:
        positional, options = accepted(changed(arrays))
        return (WINDOWED(*positional, **options, window=WINDOW, tile=TILE) * factors).sum()

    assert subject.grad is not None
    expected, found = (
        [subject.to_numpy(x) for x in subject.grad(f, *taken.values())] for f in (exactly, nearly)
    )
    least = 1e-2 * max(float(np.max(np.abs(x))) for x in expected)
    for got, exact in zip(found, expected, strict=True):
        scale = float(np.max(np.abs(exact))) + least
        tolerance = 1024 * problem.eps * condition(problem)
        subject.assert_close(got, exact, tolerance, scale=scale)
