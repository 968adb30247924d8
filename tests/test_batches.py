"""A law on many problems at once: who waits, who fails, and what one program serves."""

import numpy as np
import pytest

pytest.importorskip("hypothesis")

from hypothesis.errors import UnsatisfiedAssumption

from afa_conformance.batching import TRIAL, AbandonedError, Call, run_together
from afa_conformance.programs import Programs


def call(x, program="double"):
    return TRIAL.get().call(Call(program, lambda x: (2.0 * x, None), (x,)))


@pytest.fixture
def rounds():
    """Evaluate calls one by one; keep how many were made at once."""
    sizes = []

    def evaluate(calls):
        sizes.append(len(calls))
        return [each.function(*each.arrays) for each in calls]

    evaluate.sizes = sizes
    return evaluate


def test_every_problem_gets_its_own_results(rounds):
    found = {}

    def law(x):
        for _ in range(int(x)):  # problems need not make as many calls
            x = call(x)[0]
        found[x] = True

    run_together([lambda x=x: law(x) for x in (1.0, 2.0, 3.0, 0.0)], rounds)
    assert set(found) == {2.0, 8.0, 24.0, 0.0}
    assert rounds.sizes == [3, 2, 1]


def test_one_broken_problem_breaks_the_law_and_ends_the_others(rounds):
    ended = []

    def law(x):
        try:
            while True:
                assert call(x)[0] != 6.0, "six"
        except AbandonedError:
            ended.append(x)
            raise

    with pytest.raises(AssertionError, match="six"):
        run_together([lambda x=x: law(x) for x in (1.0, 3.0, 2.0)], rounds)
    assert ended == [1.0, 2.0]


def test_rejected_problems_take_no_part(rounds):
    found = []

    def law(x):
        if call(x)[0] > 2.0:
            raise UnsatisfiedAssumption
        found.append(x)

    run_together([lambda x=x: law(x) for x in (1.0, 3.0)], rounds)
    assert found == [1.0]
    with pytest.raises(UnsatisfiedAssumption):
        run_together([lambda: law(5.0)], rounds)


def test_skips_are_skips(rounds):
    with pytest.raises(pytest.skip.Exception, match="no complex numbers"):
        run_together([lambda: pytest.skip("no complex numbers")], rounds)


def test_one_program_serves_calls_of_one_kind(host):
    backend = host("jax")
    programs, traced = Programs(backend, batch=4), []

    def function(x):
        traced.append(x.shape)
        return x + 1.0, (x.sum(), None)

    def kind(*shape, program="f"):
        x = np.random.default_rng(sum(shape)).normal(size=shape)
        return Call(program, function, (backend.from_numpy(x),))

    calls = [kind(2), kind(3), kind(2), kind(2), kind(2, program="g")]
    results = programs.run_together(calls)
    assert len(traced) == 3
    for each, (plus, (total, nothing)) in zip(calls, results, strict=True):
        np.testing.assert_allclose(plus, each.arrays[0] + 1.0)
        np.testing.assert_allclose(total, each.arrays[0].sum())
        assert nothing is None
    programs.run_together(calls[:2])  # fewer problems are no new program
    assert len(traced) == 3


def test_every_problem_sees_what_the_implementation_refuses(host):
    backend = host("jax")

    def function(x):
        msg = f"refused {x.shape}"
        raise ValueError(msg)

    programs = Programs(backend, batch=2)
    call = Call("f", function, (backend.from_numpy(np.ones(3)),))
    assert [str(each) for each in programs.run_together([call, call])] == ["refused (3,)"] * 2
