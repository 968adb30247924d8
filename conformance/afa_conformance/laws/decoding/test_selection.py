"""Sequences of a cache are selected, as in beam search (spec §9)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import afa_core
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import (
    Results,
    assert_same,
    at_own_times,
    concatenated,
    prompt,
    step,
)
from afa_conformance.problems import DrawnProblem, leaves, with_leaves
from afa_conformance.runner import fetch, read, run_estimate, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

BATCH, FIRST, TOKENS = 3, 3, 6
CHOSEN = [2, 0, 2, 1]


def chosen(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem of the chosen sequences; no other axis is as long as that of sequences."""
    arrays = {name: np.asarray(x) for name, x in leaves(problem).items()}
    of_sequences = [name for name, x in arrays.items() if x.ndim > 1 and x.shape[0] == BATCH]
    return with_leaves(problem, {name: arrays[name][CHOSEN] for name in of_sequences})


@pytest.mark.many_shapes
@pytest.mark.parametrize("masked", [False, True])
@drawn(
    description=descriptions(
        times=["default", "integers", "irregular"],
        leading=(BATCH, 2),
        queries=TOKENS,
        keys=TOKENS,
        modes=2,
        value_modes=2,
        causal=True,
        masked=False,
        correlated=[False, True],
    )
)
def test_selected_sequences(subject: Subject, masked: bool, description: Description) -> None:
    """Spec §9: a cache of chosen sequences continues these, whatever they share with others.

    Steps equal attention over the chosen sequences, to 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    mask, sent_mask = np.arange(TOKENS) != 1, None
    if masked:
        problem = replace(problem, mask=mask[None, :])
        sent_mask = subject.from_numpy(mask)
    cache = prompt(send(problem, subject), FIRST, mask=sent_mask)
    cache = afa_core.select(cache, subject.from_numpy(np.asarray(CHOSEN)))
    problem = chosen(problem)
    sent, found = send(problem, subject), list[Results]()
    for tokens in (slice(FIRST, FIRST + 1), slice(FIRST + 1, TOKENS)):
        estimate, cache = step(sent, cache, tokens, sent_mask)
        found.append((read(estimate.mean, problem, subject), fetch(estimate.precision, subject)))
    expected = run_estimate(problem, subject)
    assert_same(concatenated(found, problem), expected, problem, subject, slice(FIRST, None))
