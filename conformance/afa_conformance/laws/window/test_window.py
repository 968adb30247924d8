"""Keys before the window contribute to first order in E, with a bound (spec §7.6, §9)."""

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
from afa_conformance.oracles.direct import direct
from afa_conformance.problems import DrawnProblem, condition, in_arrays, leaves, with_leaves
from afa_conformance.runner import arguments, read, send
from afa_conformance.sampling import TICK, sample_problem
from afa_conformance.subject import Subject

WINDOWED: Any = afa_core.windowed_attention
BOUND: Any = afa_core.window_error
WINDOW, TILE = 7, 4
SPAN = 8
"""Number of near keys before a block of queries: whole tiles that contain the window."""
PLAIN: dict[str, Any] = {
    "form": "isotropic", "causal": True, "masked": False, "temperature": "one", "anchored": False,
    "query_variance": [False, True],
}  # fmt: skip
LENGTH = 45
"""Nine blocks, after nine tokens."""
SECOND = np.exp(-4.5)
UNIT = 1e6
"""Factor of values, and so of errors."""
HIDDEN = st.sampled_from([0.0, 0.3, 0.8])
"""Share of the keys that a mask hides."""


def windowed(
    problem: DrawnProblem, subject: Subject, *, window: int, tile: int = TILE
) -> NDArray[Any]:
    """Return the mean of windowed attention, as complex modes in NumPy."""
    positional, options = accepted(send(problem, subject))
    mean = WINDOWED(*positional, **options, window=window, tile=tile)
    return read(mean, problem, subject)


def bound(problem: DrawnProblem, subject: Subject, *, window: int) -> NDArray[Any]:
    """Return the bound of the error of every head."""
    positional, options = accepted(send(problem, subject))
    return np.asarray(subject.to_numpy(BOUND(*positional, **options, window=window)))


def accepted(sent: DrawnProblem) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of windowed attention."""
    positional, options = arguments(sent)
    unknown = ("inverse_temperature", "causal", "anchor")
    return positional, {name: x for name, x in options.items() if name not in unknown}


def decaying(description: Description, rate: float) -> DrawnProblem:
    """Return a problem whose decay is a rate, a little different for each head."""
    problem = sample_problem(description)
    shape = np.shape(problem.sde.decay)
    heads = np.arange(np.prod(shape)).reshape(shape)
    decay = rate * (1.0 + 0.1 * heads) if shape else rate
    return replace(problem, sde=problem.sde._replace(decay=decay))


def hiding(problem: DrawnProblem, share: float) -> DrawnProblem:
    """Return the problem with a share of its keys hidden from all queries, at times the first."""
    if not share:
        return problem
    rng = np.random.default_rng(problem.description.seed if problem.description else 0)
    mask = rng.uniform(size=(*problem.leading[-1:], 1, problem.key.shape[-2])) >= share
    mask[..., : max(0, rng.integers(-LENGTH // 2, LENGTH // 2))] = False
    return replace(problem, mask=mask)


def clustered(description: Description, lag: float) -> DrawnProblem:
    """Return one block of queries, its near keys, and as many far keys at about one lag."""
    sized = description.having(queries=TILE, keys=TILE + 2 * SPAN, times="default")
    problem = decaying(sized, 1.0)
    problem = replace(problem, value=UNIT * problem.value)
    late = np.repeat([0.0, lag], [SPAN, SPAN + TILE])
    times = late + TICK * np.arange(TILE + 2 * SPAN)
    return replace(problem, key_times=times, query_times=times[-TILE:])


def errors(problem: DrawnProblem, found: NDArray[Any]) -> NDArray[Any]:
    """Return the greatest norm of the error of a query of every head."""
    norms = np.linalg.norm(found - direct(problem).mean, axis=-1)
    return np.asarray(np.max(norms, axis=-1))


@pytest.mark.asserts
@pytest.mark.many_shapes
@drawn(
    description=descriptions(**PLAIN, times=["default", "irregular"], queries=LENGTH, keys=LENGTH),
    rate=st.sampled_from([0.5, 1.0, 2.0]),
    hidden=HIDDEN,
)
def test_error_is_within_its_bound(
    subject: Subject, description: Description, rate: float, hidden: float
) -> None:
    """Spec §9: the error of every query is at most `window_error`, plus rounding.

    Rounding is 16 ε max|v| times the condition of the problem. Keys are far from at least seven
    tokens on, where E is e^{−3.5}, e^{−7} or e^{−14} on a grid. Hidden keys do not count.
    """
    problem = hiding(decaying(description, rate), hidden)
    rounding = 16 * problem.eps * condition(problem) * np.max(np.abs(problem.value))
    allowed = bound(problem, subject, window=WINDOW) + rounding
    assert np.all(errors(problem, windowed(problem, subject, window=WINDOW)) <= allowed)


@pytest.mark.asserts
@pytest.mark.many_shapes
@pytest.mark.needs("float64")
@drawn(
    description=descriptions(**PLAIN, weighting=list(WEIGHTINGS), noise="ordinary"), hidden=HIDDEN
)
def test_error_is_of_second_order(
    subject: Subject, description: Description, hidden: float
) -> None:
    """Spec §9: the error is of second order in E, and so is its bound.

    With all far keys at one lag their E is that of the bound: from e^{−9} to e^{−12}, error and
    bound fall by at least e^{4.5}; were a first-order term missing, the error would fall by e³.
    """
    first, second = (hiding(clustered(description, lag), hidden) for lag in (9.0, 12.0))
    one, two = (errors(each, windowed(each, subject, window=WINDOW)) for each in (first, second))
    rounding = 16 * first.eps * condition(first) * np.max(np.abs(first.value))
    assert np.all(two <= SECOND * one + rounding)
    near, far = (bound(each, subject, window=SPAN + TILE) for each in (first, second))
    assert np.all(near < np.inf)
    assert np.all(far <= SECOND * near)
    assert np.all(one <= near + rounding)


@pytest.mark.many_shapes
@pytest.mark.parametrize("tokens", [SPAN + TILE, SPAN + TILE + 1])
@pytest.mark.fewer_examples(3)
@drawn(description=descriptions(**PLAIN, times=["default", "irregular"], weighting="student"))
def test_few_keys_are_all_near(subject: Subject, description: Description, tokens: int) -> None:
    """Spec §9: without far keys it is attention, to 16 ε times the condition of the problem.

    The first far key changes its bound only; the bound of a window over all keys is 0.
    """
    problem = decaying(description.having(queries=tokens, keys=tokens), 4.0)
    exact = direct(problem).mean
    subject.assert_close(
        windowed(problem, subject, window=WINDOW), exact, 16 * problem.eps * condition(problem)
    )
    found = bound(problem, subject, window=tokens)
    subject.assert_close(found, np.zeros_like(found), 0.0)


@pytest.mark.many_shapes
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.fewer_examples(3)
@drawn(
    description=descriptions(
        **PLAIN, correlated=None, noise="ordinary", size="ordinary", queries=LENGTH, keys=LENGTH,
        dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_bound_is_in_units_of_values(
    subject: Subject, correlated: bool, description: Description
) -> None:
    """Spec §9: values by c give a bound by c, to 64 ε, also where their squares overflow."""
    problem = decaying(description.having(correlated=correlated), 2.0)
    unit = 2.0**600 if problem.dtype == "float64" else 2.0**80
    expected = bound(problem, subject, window=WINDOW)
    found = bound(replace(problem, value=unit * problem.value), subject, window=WINDOW)
    finite = np.isfinite(expected)
    assert np.all(np.isfinite(found) == finite)
    got, own = found[finite].astype(np.float64) / unit, expected[finite].astype(np.float64)
    subject.assert_close(got, own, 64 * problem.eps)


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(3)
@drawn(
    description=descriptions(
        **PLAIN, weighting="uniform", noise="ordinary", queries=LENGTH, keys=LENGTH,
        correlated=[False, True], times=["default", "regular", "irregular", "integers"],
    )
)  # fmt: skip
def test_bound_of_uniform_weights(subject: Subject, description: Description) -> None:
    """Spec §9: the bound of uniform weights is finite, whatever the queries and keys."""
    problem = decaying(description, 2.0)
    far = replace(problem, query=1e4 * problem.query, key=1e4 * problem.key)
    found, expected = (bound(each, subject, window=WINDOW) for each in (far, problem))
    assert np.all(np.isfinite(expected))
    subject.assert_close(found, expected, 0.0)


@pytest.mark.many_shapes
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("weighting", ["student", "gaussian", "rational"])
def test_gradients(subject: Subject, weighting: str) -> None:
    """Spec §13: where E² is below rounding, derivatives are those of attention.

    To 64 ε times the condition of the problem, of the largest entry of each derivative plus 1 % of
    the largest of all. No key is at its query's time, where |Δ| is not differentiable.
    """
    description = Description(
        queries=LENGTH, keys=LENGTH, weighting=weighting, dtype=subject.dtype, leading=(2,),
        layout="interleaved",
    )  # fmt: skip
    problem = in_arrays(decaying(description, 3.0))
    times = np.arange(LENGTH, dtype=np.float64)
    sent = send(replace(problem, query_times=times + 0.25, key_times=times), subject)
    taken = {name: x for name, x in leaves(sent).items() if name != "inverse_temperature"}
    factors = subject.from_numpy(
        np.random.default_rng(0).normal(size=(2, LENGTH, 2 * problem.value_modes))
    )

    def exactly(*arrays: Any) -> Any:
        positional, options = arguments(with_leaves(sent, dict(zip(taken, arrays, strict=True))))
        return (afa_core.attention(*positional, **options) * factors).sum()

    def nearly(*arrays: Any) -> Any:
        positional, options = accepted(with_leaves(sent, dict(zip(taken, arrays, strict=True))))
        mean = WINDOWED(*positional, **options, window=WINDOW, tile=TILE)
        return (mean * factors).sum()

    assert subject.grad is not None
    expected, found = (
        [subject.to_numpy(x) for x in subject.grad(f, *taken.values())] for f in (exactly, nearly)
    )
    least = 1e-2 * max(float(np.max(np.abs(x))) for x in expected)
    for got, exact in zip(found, expected, strict=True):
        scale = float(np.max(np.abs(exact))) + least
        subject.assert_close(got, exact, 64 * problem.eps * condition(problem), scale=scale)


@pytest.mark.asserts
@pytest.mark.many_shapes
@pytest.mark.parametrize("what", ["no decay", "times that decrease"])
def test_nan_without_decay_or_order(subject: Subject, what: str) -> None:
    """Spec §9: without decay, or with times that decrease, results are NaN, and the bound is inf.

    From the first query on that has a far key; earlier rows are finite.
    """
    description = Description(queries=LENGTH, keys=LENGTH, dtype=subject.dtype)
    problem = decaying(description.having(layout="interleaved"), 0.0 if what == "no decay" else 1.0)
    if what == "times that decrease":
        problem = replace(problem, key_times=np.arange(LENGTH, 0.0, -1.0))
    found = windowed(problem, subject, window=WINDOW)
    before = LENGTH % TILE + SPAN
    assert np.all(np.isnan(found[before:]))
    assert np.all(np.isfinite(found[:before]))
    assert bound(problem, subject, window=WINDOW) == np.inf
