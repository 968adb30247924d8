"""Times default to positions in the sequence (spec §8.3, §8.4)."""

from __future__ import annotations

from dataclasses import replace

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions(correlated=[False, True], times="default", queries=[4, 2], keys=4))
def test_positions_in_the_sequence(subject: Subject, description: Description) -> None:
    """Spec §8.3, §8.4: by default keys are at times 0..m−1, and queries at the last n of them.

    The estimate equals that of explicit times, to 4 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    explicit = completed(problem)
    found, expected = (run_attention(each, subject) for each in (explicit, problem))
    subject.assert_close(found, expected, 4 * problem.eps * condition(problem))


@drawn(description=descriptions(correlated=[False, True], times="irregular", queries=2, keys=4))
def test_queries_have_the_last_times(subject: Subject, description: Description) -> None:
    """Spec §8.4: given key times alone, queries are at the last n of them.

    The estimate equals that of explicit times, to 4 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    explicit = replace(problem, query_times=problem.key_times[..., -2:])
    implied = replace(problem, query_times=None)
    found, expected = (run_attention(each, subject) for each in (implied, explicit))
    subject.assert_close(found, expected, 4 * problem.eps * condition(problem))


@drawn(description=descriptions(correlated=[False, True], times="irregular", queries=4, keys=4))
def test_keys_share_the_queries_times(subject: Subject, description: Description) -> None:
    """Spec §8.3: given query times alone, and n = m, keys are at the same times.

    The estimate equals that of explicit times, to 4 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    explicit = replace(problem, key_times=problem.query_times)
    implied = replace(problem, key_times=None)
    found, expected = (run_attention(each, subject) for each in (implied, explicit))
    subject.assert_close(found, expected, 4 * problem.eps * condition(problem))
