"""Old tokens of a cache can be evicted once they hardly matter (spec §14)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

import afa_core
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import at_own_times, prompt, step
from afa_conformance.problems import DrawnProblem, leaves, with_leaves
from afa_conformance.runner import fetch, read, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DecodeCache, DiagonalSDE

TOKENS, LENGTH = 1_000, 3.0
CACHES = descriptions(
    correlated=True, causal=True, masked=False, noise="ordinary", decay=["ordinary", "zero"],
    rotation="off", size="ordinary", leading=[(2,)], queries=TOKENS, keys=TOKENS,
    times=["default", "regular"], temperature="one", weighting=["student", "gaussian", "rational"],
)  # fmt: skip


def adverse(problem: DrawnProblem, length: float, near: int) -> DrawnProblem:
    """Return a problem of queries like far keys and opposite to near ones, as are values."""
    query = problem.query[..., :1, :]
    unit = query / np.linalg.norm(query, axis=-1, keepdims=True)
    sign = np.where(np.arange(TOKENS) < TOKENS - near, 1.0, -1.0)[:, None].astype(unit.real.dtype)
    one = np.ones_like(sign)
    value = sign * np.ones_like(problem.value)
    return replace(
        problem, query=length * unit * one, key=LENGTH * unit * sign, value=value, tolerance=0.0
    )


def unequal(problem: DrawnProblem) -> DrawnProblem:
    """Return a problem whose last head and whose last mode remember more than the others."""
    changed = {name: x + 0.0 for name, x in leaves(problem).items() if name.endswith("process")}
    for x in changed.values():
        if np.ndim(x) and np.shape(x)[0] == 2:
            x[-1] *= 0.2
        if np.ndim(x) and isinstance(problem.sde, DiagonalSDE):
            x[..., -1] *= 0.25
    return with_leaves(problem, changed)


@pytest.mark.asserts
@pytest.mark.many_shapes
@drawn(
    description=CACHES,
    tolerance=st.sampled_from([0.02, 0.3]),
    length=st.sampled_from([None, 60.0]),
)
def test_within_tolerance(
    subject: Subject, description: Description, tolerance: float, length: float | None
) -> None:
    """Spec §14: with queries and keys of at most a length, the error is ≤ 2τ/(1−τ) max‖v‖.

    Without one it is at most 2r/(r + Z) max‖v‖. For each mode of the diagonal form, and √2 times
    that in the radial–tangential form.
    """
    problem = unequal(at_own_times(sample_problem(description)))

    def evict(cache: DecodeCache) -> DecodeCache:
        norm = None if length else LENGTH
        return afa_core.evict(cache, sent.sde, tolerance, norm=norm, weighting=sent.weighting)

    sent = send(problem, subject)
    kept = evict(prompt(sent, TOKENS - 1)).used  # by times alone
    problem = adverse(problem, length or LENGTH, kept + 1)
    sent = send(problem, subject)
    cache = prompt(sent, TOKENS - 1)
    evicted = evict(cache)
    assert evicted.used == kept
    if description.weighting != "gaussian":  # by which one key may outweigh all nearer ones
        assert kept < TOKENS / 2
    last = slice(TOKENS - 1, TOKENS)
    exact, _ = step(sent, cache, last)
    found, after = step(sent, evicted, last)
    shares = fetch(afa_core.evicted_share(found, after, sent.sde), subject)
    bound = 2.0 * np.max(shares)
    if length is None:
        bound = np.minimum(bound, 2.0 * tolerance / (1.0 - tolerance))
    changed = read(found.mean, problem, subject) - read(exact.mean, problem, subject)
    if description.form == "diagonal":
        error, largest = np.abs(changed), np.max(np.abs(problem.value))
    else:
        error = np.linalg.norm(changed, axis=-1)
        largest = np.max(np.linalg.norm(problem.value, axis=-1))
        bound = bound * (2.0**0.5 if description.form == "radial_tangential" else 1.0)
    assert np.all(error <= (bound + 64 * problem.eps) * largest)
