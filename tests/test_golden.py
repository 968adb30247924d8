"""The golden vectors are what the script writes, and every oracle agrees with them."""

import json
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings

from afa_conformance.closeness import EPS, assert_close
from afa_conformance.descriptions import DTYPES, FORMS, WEIGHTINGS
from afa_conformance.drawing import descriptions
from afa_conformance.limits import Limits
from afa_conformance.oracles import golden
from afa_conformance.oracles.direct import direct
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import condition, leaves
from afa_conformance.runner import parts
from afa_conformance.sampling import rounded, sample_problem

FILE = resources.files("afa_conformance.oracles").joinpath(golden.NAME)
CASES = golden.read()


def test_script_writes_the_committed_file_digit_by_digit():
    assert golden.write() == FILE.read_text(encoding="utf-8")


def test_every_form_weighting_and_order_has_a_case():
    independent = {name for name, case in CASES.items() if not case.problem.correlated}
    assert {tuple(name.split()) for name in independent} == {
        (form, weighting, order)
        for form in FORMS
        for weighting in WEIGHTINGS
        for order in ("causal", "acausal")
    }
    correlated = [name.split() for name in set(CASES) - independent]
    assert {form for form, *_ in correlated} == set(FORMS)
    assert {order for _, _, order, _ in correlated} == {"causal", "acausal"}


def test_cases_differ_in_what_is_optional():
    problems = [each.problem for each in CASES.values()]
    for count in (
        sum(each.mask is not None for each in problems),
        sum(each.inverse_temperature != 1.0 for each in problems),
        sum(each.query.shape != each.key.shape for each in problems),
    ):
        assert 4 <= count <= 20


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_are_exact_in_every_dtype(name, dtype):
    problem = CASES[name].problem
    described = problem.__class__(**{**vars(problem), "description": None})
    for leaf, x in leaves(rounded(described, dtype)).items():
        np.testing.assert_array_equal(x, leaves(problem)[leaf], leaf)


def test_file_is_plain_json_with_forty_digits():
    text = FILE.read_text(encoding="utf-8")
    mean = json.loads(text)["cases"][0]["answers"]["mean"]
    digits = mean[0][0][0].lstrip("-0.").replace(".", "")
    assert len(digits) == golden.DIGITS


def agree(found, exact, tolerance):
    assert_close(found.mean, exact.mean, tolerance)
    for name in ("precision", "weights"):
        pairs = zip(parts(getattr(found, name)), parts(getattr(exact, name)), strict=True)
        for got, expected in pairs:
            assert_close(got, expected, tolerance)


@pytest.mark.parametrize("name", CASES)
def test_direct_evaluation_agrees(name):
    problem, exact = CASES[name]
    if problem.correlated:
        pytest.skip("the direct evaluation is of independent keys")
    agree(direct(problem), exact, 4 * EPS)


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(
    descriptions(
        size=["ordinary", "tiny", "huge", "distant"],
        times=["default", "regular", "irregular", "tied", "integers", "far"],
    )(Limits())
)
def test_direct_evaluation_is_the_double_sum(description):
    problem = sample_problem(description)
    agree(direct(problem), double_sum(problem), EPS * (4 + condition(problem) / 500))
