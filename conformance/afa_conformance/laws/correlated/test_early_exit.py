"""Far keys may be left out once their weight cannot matter (spec §14)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.attention.test_permutation import with_keys_in_order
from afa_conformance.problems import completed, condition, leaves, visibility, with_leaves
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

LONG = descriptions(
    correlated=True, noise="ordinary", size=["ordinary", "distant"],
    decay=["ordinary", "zero", "slow"], queries=24, keys=24, dtype=["float64", "float32"],
)  # fmt: skip


@pytest.mark.asserts
@pytest.mark.fewer_examples(2)
@drawn(description=LONG, tolerance=st.sampled_from([1e-4, 0.03, 0.5]))
def test_within_tolerance(subject: Subject, description: Description, tolerance: float) -> None:
    """Spec §14: τ changes an estimate by at most 2τ max‖v‖, for each mode of the diagonal form.

    Both sides of a query that is not causal may count, which doubles it, and the radial and the
    tangential estimate, which makes √2 of it.
    """
    problem = sample_problem(description)
    exact = run_attention(replace(problem, tolerance=0.0), subject)
    changed = run_attention(replace(problem, tolerance=tolerance), subject) - exact
    value = problem.value
    if description.form == "diagonal":
        error, largest = np.abs(changed), np.max(np.abs(value), axis=-2, keepdims=True)
    else:
        error = np.linalg.norm(changed, axis=-1)
        largest = np.max(np.linalg.norm(value, axis=-1), axis=-1, keepdims=True)
    factor = 2.0 if description.causal else 4.0
    factor *= 2.0**0.5 if description.form == "radial_tangential" else 1.0
    rounding = 64 * problem.eps * condition(problem)
    assert np.all(error <= (factor * tolerance + rounding) * largest)


@drawn(description=LONG)
def test_rounding_by_default(subject: Subject, description: Description) -> None:
    """Spec §14: by default what is left out is within rounding."""
    problem = sample_problem(description)
    exact = run_attention(replace(problem, tolerance=0.0), subject)
    tolerance = 64 * problem.eps * condition(problem)
    subject.assert_close(run_attention(problem, subject), exact, tolerance)


@drawn(
    description=descriptions(
        correlated=True, noise="ordinary", decay=["ordinary", "zero"], causal=False,
        masked=[False, True], times=["irregular", "tied"], queries=24, keys=24,
        dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_keys_in_any_order(subject: Subject, description: Description) -> None:
    """Spec §14: keys that are near in time are visited wherever they stand, also those tied."""
    problem = completed(sample_problem(description))
    order = np.random.default_rng(description.seed).permutation(problem.key.shape[-2])
    permuted = with_keys_in_order(problem, order)
    exact = run_attention(replace(permuted, tolerance=0.0), subject)
    tolerance = 64 * problem.eps * condition(problem)
    subject.assert_close(run_attention(permuted, subject), exact, tolerance)


@drawn(
    description=descriptions(
        correlated=True, noise="ordinary", decay=["ordinary", "zero"], queries=24, keys=24,
        weighting="gaussian", dtype=["float64"],
    )
)  # fmt: skip
def test_near_outliers(subject: Subject, description: Description) -> None:
    """Spec §14: early keys are visited where all later ones are outliers, in any range of weights.

    Their influence is below the least number of the dtype, and so are the weights of later keys.
    """
    problem = sample_problem(description)
    exact_measurements = {
        name: 1e-25 * x for name, x in leaves(problem).items() if "measurement" in name
    }
    key = problem.key.copy()
    key[..., 4:, :] += 1e3
    problem = with_leaves(problem, exact_measurements | {"key": key})
    exact = run_attention(replace(problem, tolerance=0.0), subject)
    tolerance = 64 * problem.eps * condition(problem)
    subject.assert_close(run_attention(problem, subject), exact, tolerance)


@pytest.mark.asserts
@drawn(description=LONG)
def test_values_that_are_not_finite(subject: Subject, description: Description) -> None:
    """Spec §8.4, §14: NaN in a value reaches the rows that see it, however little it weighs."""
    problem = sample_problem(description)
    value = problem.value.copy()
    value[..., 0, -1] = np.nan
    with np.errstate(invalid="ignore"):
        mean = run_attention(replace(problem, value=value, tolerance=0.03), subject)
    attending = np.broadcast_to(visibility(problem)[..., 0], mean.shape[:-1])
    assert np.all(np.isnan(mean[attending][:, -1]))
