"""Modes of equal frequency can be mixed (spec §13)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import unitary
from afa_conformance.problems import completed, condition, leaves, with_leaves
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE


@drawn(description=descriptions(correlated=[False, True]))
def test_unitary_maps(subject: Subject, description: Description) -> None:
    """Spec §13: at equal ω, a unitary map of q and k changes nothing, and one of v maps x̂.

    To 16 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    per_mode = isinstance(problem.sde, DiagonalSDE)
    equal_modes = {
        name: np.repeat(x[..., :1], x.shape[-1], axis=-1)
        for name, x in leaves(problem).items()
        if np.ndim(x) and (name.endswith("frequency") or (per_mode and name.startswith("sde.")))
    }
    problem = with_leaves(problem, equal_modes)
    rng = np.random.default_rng(description.seed)
    mix, value_mix = unitary(rng, problem.modes), unitary(rng, problem.value_modes)
    mixed = replace(
        problem,
        query=problem.query @ mix,
        key=problem.key @ mix,
        value=problem.value @ value_mix,
        anchor=None if problem.anchor is None else problem.anchor @ value_mix,
    )
    expected = run_attention(problem, subject) @ value_mix
    subject.assert_close(
        run_attention(mixed, subject), expected, 16 * problem.eps * condition(problem)
    )
