"""Which implementation runs, and why the others do not."""

import numpy as np
import pytest

import afa_core as afa
from afa_core import implementations
from afa_core._array.arrays import namespace
from afa_core._dispatch import registered
from afa_core.implementations import IMPLEMENTATIONS, Implementation
from afa_core.streaming.engine import STANDARD

REFERENCE = IMPLEMENTATIONS[-1]
UNIFORM = "only Uniform() weights depend on the lag alone, not StudentT."


@pytest.fixture
def arguments(library):
    """Three tokens for the isotropic model."""
    x = library.from_numpy(np.random.default_rng(0).standard_normal((3, 4)))
    sde = afa.IsotropicSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
    return {"query": x, "key": x, "value": x, "sde": sde}


def renamed_reference(name, refusal=""):
    """The reference under another name, refusing long problems for a reason."""

    def refuse(problem, xp):
        return refusal if refusal and problem.packed.query.shape[-2] > 2 else ""

    return Implementation(name, refuse, REFERENCE.reservation, REFERENCE.run)


def engine_of(library):
    xp = namespace(x=library.from_numpy(np.ones(1)))
    return registered("streaming", xp, STANDARD)


def test_few_tokens_are_for_the_reference(arguments):
    for name in ("auto", "reference"):
        explanation = afa.explain(**arguments, implementation=name)
        assert explanation.chosen == "reference"
        assert explanation.others["linear"] == UNIFORM
        assert "reference is faster" in explanation.others["streaming"]
    assert afa.explain(**arguments, implementation="streaming").chosen == "streaming"


def test_linear_is_preferred_where_it_is_faster(arguments, library, call):
    arguments["weighting"] = afa.Uniform()
    few = "pairs are faster for fewer than 128 queries."
    explanation = afa.explain(**arguments)
    assert (explanation.chosen, explanation.others["linear"]) == ("reference", few)
    assert afa.explain(**arguments, implementation="linear").chosen == "linear"
    x = library.from_numpy(np.random.default_rng(0).standard_normal((128, 4)))
    long = arguments | {"query": x, "key": x, "value": x}
    for causal in (True, False):
        explanation = afa.explain(**long, causal=causal)
        assert explanation.chosen == "linear"
        assert explanation.others["reference"] == "'linear' is preferred"
    times = library.from_numpy(np.arange(128.0))
    why = afa.explain(**long, query_times=times).others["linear"]
    assert why == "times are given, so that the grid may be irregular."
    assert afa.explain(**long, implementation="reference").chosen == "reference"
    found, exact = (
        library.to_numpy(call(afa.attention, **long, implementation=name))
        for name in ("auto", "reference")
    )
    np.testing.assert_allclose(found, exact, atol=1e-13)


def test_many_tokens_are_streamed(library):
    engine = engine_of(library)
    x = library.from_numpy(np.ones((engine.tokens.isotropic, 4)))
    sde = afa.IsotropicSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
    assert afa.explain(x, x, x, sde).chosen == "streaming"
    assert afa.explain(x[1:, :], x[1:, :], x[1:, :], sde).chosen == "reference"


def test_a_pair_of_several_numbers_counts_as_several(library):
    engine = engine_of(library)
    sde = afa.DiagonalSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
    x = library.from_numpy(np.ones((engine.tokens.diagonal // 2, 8)))
    assert afa.explain(x, x, x, sde).chosen == "streaming"
    others = afa.explain(x[1:, :], x[1:, :], x[1:, :], sde).others
    assert others["streaming"] == (
        f"for fewer pairs than {engine.tokens.diagonal}²/4 the reference is faster."
    )


def test_pairs_of_heads_that_share_tiles_count_together(library):
    """Where a tile is evaluated for all heads at once, many heads of few tokens are streamed."""
    engine = engine_of(library)
    assert engine.heads_together == (library.name in ("torch", "jax"))
    sde = afa.IsotropicSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
    few, many = (
        library.from_numpy(np.ones((batch, 4, engine.tokens.isotropic // 8, 4)))
        for batch in (15, 16)
    )
    assert afa.explain(few, few, few, sde).chosen == "reference"
    found = afa.explain(many, many, many, sde).chosen
    assert found == ("streaming" if engine.heads_together else "reference")
    if engine.heads_together:
        reason = f"for fewer pairs than {engine.tokens.isotropic}²/60 the reference is faster."
        assert afa.explain(few, few, few, sde).others["streaming"] == reason


def test_explanation_is_about_the_problem_given(arguments, monkeypatch):
    fast, narrow = renamed_reference("fast"), renamed_reference("narrow", "more than 2 queries.")
    monkeypatch.setattr(implementations, "IMPLEMENTATIONS", (narrow, fast, REFERENCE))
    explanation = afa.explain(**arguments)
    assert explanation.chosen == "fast"
    assert explanation.others == {
        "narrow": "more than 2 queries.",
        "reference": "'fast' is preferred",
    }
    short = arguments | {"query": arguments["query"][:2, :]}
    assert afa.explain(**short).chosen == "narrow"
    by_name = afa.explain(**arguments, implementation="reference")
    assert by_name.chosen == "reference"
    assert by_name.others["narrow"] == "more than 2 queries."


def test_what_is_explained_is_what_runs(arguments, library, monkeypatch):
    ran = []

    def run(problem, options, xp):
        ran.append("fast")
        return REFERENCE.run(problem, options, xp)

    fast = Implementation("fast", REFERENCE.refusal, REFERENCE.reservation, run)
    exact = library.to_numpy(afa.attention(**arguments))
    monkeypatch.setattr(implementations, "IMPLEMENTATIONS", (fast, REFERENCE))
    for name, expected in (("auto", ["fast"]), ("fast", ["fast"]), ("reference", [])):
        ran.clear()
        result = afa.attention(**arguments, implementation=name)
        np.testing.assert_array_equal(library.to_numpy(result), exact)
        assert ran == expected
        assert (afa.explain(**arguments, implementation=name).chosen == "fast") == bool(expected)


def test_explaining_runs_nothing(arguments, monkeypatch):
    def run(problem, options, xp):
        raise AssertionError

    idle = Implementation("idle", REFERENCE.refusal, REFERENCE.reservation, run)
    monkeypatch.setattr(implementations, "IMPLEMENTATIONS", (idle,))
    assert afa.explain(**arguments).chosen == "idle"
