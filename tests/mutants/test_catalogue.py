"""Every mutant of the catalogue can be made, and says what it means."""

import json
import runpy
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
MAIN = runpy.run_path(str(FOLDER))
CATALOGUE = MAIN["catalogue"].read()
FORMS = MAIN["catalogue"].FORMS
ROOT = MAIN["ROOT"]

MODULE = '''
LIMIT = 3

def first(x):
    """Return x + 1, as others do not."""
    return (
        x + 1,  # not 2
    )

class Second:
    def method(self, x, y):
        def inner():
            return x+1
        return [inner(), x  +  1, y]
'''


@pytest.mark.parametrize("mutant", CATALOGUE.mutants, ids=lambda mutant: mutant.name)
def test_mutant_can_be_made(mutant):
    assert MAIN["catalogue"].mistakes([mutant]) == []


def test_names_are_unique():
    counts = Counter(mutant.name for mutant in CATALOGUE.mutants)
    assert [name for name, count in counts.items() if count > 1] == []


def test_catalogue_covers_every_form():
    assert all(set(mutant.forms) <= set(FORMS) for mutant in CATALOGUE.mutants)
    for form in FORMS:
        assert sum(mutant.forms == [form] for mutant in CATALOGUE.mutants) >= 10


def test_reasons_are_about_laws_that_exist():
    for law in CATALOGUE.reasons:
        file, _, name = law.partition("::")
        path = ROOT / "conformance/afa_conformance/laws" / file
        assert f"def {name}(" in path.read_text(encoding="utf-8"), law


def test_report_is_about_these_mutants():
    report = json.loads(MAIN["KNOWN"].read_text(encoding="utf-8"))
    names = {mutant.name for mutant in CATALOGUE.mutants}
    assert [each["name"] for each in report["mutants"] if each["name"] not in names] == []


@pytest.fixture
def substitute():
    substitution = MAIN["catalogue"].Substitution

    def apply(function, *change):
        return substitution(*change).apply(MODULE, function)

    return apply


def test_spacing_comments_and_docstrings_make_no_difference(substitute):
    changed = substitute("first", "return (x+1)", "return (x - 1)")
    assert changed == MODULE.replace("return (\n        x + 1,  # not 2\n    )", "return (x - 1)")


def test_lines_are_indented_as_where_they_are_put(substitute):
    changed = substitute("Second.method", "return [inner()", "x = 0\nreturn [inner()")
    assert "\n        x = 0\n        return [inner(), x  +  1, y]\n" in changed


def test_occurrence_chooses_among_several(substitute):
    assert "inner(), x  +  1" in substitute("Second.method", "x + 1", "y", 1)
    assert "inner(), y, y" in substitute("Second.method", "x + 1", "y", 2)
    assert "return y\n" in substitute("Second.method.inner", "x + 1", "y")


def test_module_is_what_is_outside_functions(substitute):
    assert "LIMIT = 4" in substitute("<module>", "3", "4")


@pytest.mark.parametrize(
    ("function", "change", "message"),
    [
        ("first", ["x + 2", "x"], r"expected once, found 0 times in(.|\n)*x \+ 1,  # not 2"),
        ("Second.method", ["x + 1", "x"], "expected once, found 2 times"),
        ("Second.method", ["x + 1", "x", 3], "expected 3 times or more, found 2 times"),
        ("first", ["x + 1", "x + (1)"], "what replaces it means the same"),
        ("third", ["x", "y"], "no function 'third', only first, Second, Second.method"),
        ("<module>", ["x + 1", "x"], "expected once, found 0 times"),
    ],
)
def test_mismatch_says_what_was_expected_and_what_is_there(substitute, function, change, message):
    with pytest.raises(LookupError, match=message):
        substitute(function, *change)


def test_mechanical_mutants_differ_in_one_place():
    pytest.importorskip("cosmic_ray")
    mechanical = runpy.run_path(str(FOLDER / "mechanical.py"))
    source = "def double(x, *, y=2):\n    return -x**y if x < 3 else f(**{'x': x * True})\n"
    found = {
        operation.apply(source, function): (operation.operator, line, function)
        for operation, line, function in mechanical["operations"](source)
    }
    assert {function for _, _, function in found.values()} == {"double"}
    assert found.keys() == {
        source.replace(*change)
        for change in [
            ("-x", "x"), ("x**y", "x*y"), ("x <", "x <="), ("x * ", "x / "),
            ("True", "False"), ("y=2", "y= 1"), ("< 3", "< 2"),
        ]
    }  # fmt: skip


def test_equivalent_mutants_are_made():
    pytest.importorskip("cosmic_ray")
    mechanical = runpy.run_path(str(FOLDER / "mechanical.py"))
    made = mechanical["mutants"](mechanical["MODULES"], CATALOGUE.runs)
    assert CATALOGUE.equivalent.keys() <= {f"{mutant.place}: {mutant.name}" for mutant in made}
