"""Decoding step by step is attention all at once (spec §9, §13)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import FORMS, TIMES, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import (
    assert_same,
    at_own_times,
    concatenated,
    decode,
    prompt,
    rows_of,
    step,
    with_powers,
)
from afa_conformance.problems import completed, condition, leaves, with_huge_token, with_leaves
from afa_conformance.runner import fetch, read, run_estimate, send
from afa_conformance.sampling import rounded, sample_problem
from afa_conformance.subject import Subject

TOKENS = 6
SEQUENCES = descriptions(
    causal=True, masked=False, queries=TOKENS, keys=TOKENS, times=[*TIMES], size=["ordinary"],
    correlated=[False, True], query_variance=[False, True],
)  # fmt: skip


@pytest.mark.many_shapes
@drawn(description=SEQUENCES)
def test_token_by_token(subject: Subject, description: Description) -> None:
    """Spec §9: appending tokens one by one to an empty cache equals causal attention.

    To 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    found = decode(problem, subject, [1] * TOKENS)
    assert_same(found, run_estimate(problem, subject), problem, subject)


@pytest.mark.many_shapes
@drawn(description=SEQUENCES)
def test_several_at_once(subject: Subject, description: Description) -> None:
    """Spec §9: steps of several tokens, causal among themselves, equal causal attention.

    To 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    sizes = [[TOKENS], [2, 3, 1], [1, 4, 1], [3, 3]][description.seed % 4]
    found = decode(problem, subject, sizes)
    assert_same(found, run_estimate(problem, subject), problem, subject)


@pytest.mark.many_shapes
@drawn(description=SEQUENCES)
def test_after_a_prompt(subject: Subject, description: Description) -> None:
    """Spec §9: steps after a prompt equal causal attention, however long the prompt is.

    To 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    first = 1 + description.seed % 4
    capacity = TOKENS if description.seed % 2 else None
    found = decode(problem, subject, [1] * (TOKENS - first), first=first, capacity=capacity)
    assert_same(found, run_estimate(problem, subject), problem, subject, slice(first, None))


@pytest.mark.many_shapes
@drawn(
    description=descriptions(
        causal=True,
        masked=False,
        queries=TOKENS,
        keys=TOKENS,
        weighting="student",
        noise="ordinary",
        decay=["ordinary", "zero"],
        size=["ordinary", "distant", "tiny", "huge"],
    )
)
def test_integer_powers(subject: Subject, description: Description) -> None:
    """Spec §9: weights of an integer ν_s, computed as powers without a logarithm, give the same.

    To 8 ε times the condition of the problem.
    """
    problem = at_own_times(with_powers(sample_problem(description), description.seed))
    found = decode(problem, subject, [1, 2, 1, 1, 1])
    assert_same(found, run_estimate(problem, subject), problem, subject)


@pytest.mark.many_shapes
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        form=None, causal=True, masked=False, queries=TOKENS, keys=TOKENS, leading=(),
        decay="ordinary", noise="ordinary", temperature="one", sharing="each", size="ordinary",
        weighting=["student", "gaussian", "rational"], dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_queries_and_keys_of_any_length(
    subject: Subject, form: str, description: Description
) -> None:
    """Spec §3, §6: tokens whose squares overflow or underflow are decoded as any others.

    Beside a huge token, equal as query and key, other rows are those of attention without it, and
    its own row is its value, to 64 ε. Rows of tiny queries are those of attention.
    """
    problem = at_own_times(completed(sample_problem(description.having(form=form))))
    sizes, place = [1, 2, 3], 1 + description.seed % (TOKENS - 1)
    token = np.arange(TOKENS) == place
    double = problem.dtype == "float64"
    changed = with_huge_token(problem, token, 1e308 if double else 2e38)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, _ = decode(changed, subject, sizes)
    expected, _ = run_estimate(replace(problem, mask=~token[None, :]), subject)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(mean[~token], expected[~token], tolerance)
    scale = float(np.max(np.abs(problem.value)))
    subject.assert_close(mean[place], problem.value[place], 64 * problem.eps, scale=scale)
    tiny = rounded(
        replace(problem, query=(1e-160 if double else 1e-20) * problem.query), problem.dtype
    )
    assert_same(decode(tiny, subject, sizes), run_estimate(tiny, subject), tiny, subject)


@pytest.mark.many_shapes
@drawn(
    description=descriptions(
        causal=True, masked=False, queries=TOKENS, keys=TOKENS, times=["tied", "irregular"],
        correlated=True, temperature=["one", "number", "array"], noise=["ordinary", "no process"],
    )
)  # fmt: skip
def test_keys_without_noise(subject: Subject, description: Description) -> None:
    """Spec §14: at η² = 0 a key at the time of the one before has no influence, at β = 0 either.

    Steps equal attention, to 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    exact = {name: 0.0 * x for name, x in leaves(problem).items() if name.endswith("measurement")}
    problem = with_leaves(problem, exact)
    if description.seed % 4 == 0:
        problem = replace(problem, inverse_temperature=0.0)
    found = decode(problem, subject, [1, 2, 1, 2])
    assert_same(found, run_estimate(problem, subject), problem, subject)


@pytest.mark.many_shapes
@drawn(
    description=descriptions(
        causal=True, masked=False, queries=TOKENS, keys=TOKENS, times=["regular", "irregular"],
        correlated=[False, True],
    )
)  # fmt: skip
def test_default_time(subject: Subject, description: Description) -> None:
    """Spec §9: the time of a token defaults to 1 after the latest visible one.

    Steps equal attention at these times, to 8 ε times the condition of the problem.
    """
    problem = completed(at_own_times(sample_problem(description)))
    times = np.array(problem.key_times)
    latest = times[..., 2:3]
    times[..., 3] = latest[..., 0] + 100.0
    times[..., 4:] = latest + np.arange(1.0, TOKENS - 3)
    present = np.arange(TOKENS) != 3
    problem = replace(problem, query_times=times, key_times=times)
    sent, mask = send(problem, subject), subject.from_numpy(present)
    cache = prompt(sent, 4, mask=mask)
    without_times = replace(sent, key_times=None)
    found = []
    for token in range(4, TOKENS):
        result, cache = step(without_times, cache, slice(token, token + 1))
        found.append((read(result.mean, problem, subject), fetch(result.precision, subject)))
    hidden = replace(problem, mask=present[None, :])
    assert_same(
        concatenated(found, problem), run_estimate(hidden, subject), hidden, subject, slice(4, None)
    )


@pytest.mark.many_shapes
@pytest.mark.parametrize("what", [np.nan, np.inf])
@drawn(
    description=descriptions(
        causal=True, masked=False, queries=TOKENS, keys=TOKENS, correlated=[False, True]
    )
)
def test_future_tokens_have_no_effect(
    subject: Subject, what: float, description: Description
) -> None:
    """Spec §13: a non-finite token has no effect on earlier tokens of the same step.

    To 8 ε times the condition of the problem.
    """
    problem = completed(at_own_times(sample_problem(description)))
    last = np.arange(TOKENS)[:, None] == TOKENS - 1
    nonfinite = replace(
        problem,
        key=np.where(last, what, problem.key),
        value=np.where(last, what, problem.value),
    )
    with np.errstate(invalid="ignore"):  # the token itself
        mean, precision = decode(nonfinite, subject, [2, TOKENS - 2])
    expected = run_estimate(problem, subject)
    kept = slice(0, TOKENS - 1)
    assert_same(rows_of(mean, precision, problem, kept), expected, problem, subject, kept)


@pytest.mark.many_shapes
@drawn(
    description=descriptions(
        leading=[(2, 3)], causal=True, masked=False, queries=TOKENS, keys=TOKENS,
        sharing=["parameters", "numbers"], times=["default", "regular", "integers"],
        correlated=[False, True], query_variance=[False, True],
    )
)  # fmt: skip
def test_queries_that_share_keys(subject: Subject, description: Description) -> None:
    """Spec §8.1: keys that are shared along any leading axes are cached once, with the same result.

    To 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    batch, heads = [(1, 3), (2, 1), (1, 1)][description.seed % 3]
    shared = {name: getattr(problem, name)[:batch, :heads] for name in ("key", "value")}
    problem = replace(problem, **shared)
    found = decode(problem, subject, [2, 1, 1, 2])
    assert_same(found, run_estimate(problem, subject), problem, subject)
