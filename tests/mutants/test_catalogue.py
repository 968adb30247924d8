"""Every fault of the catalogue can be planted, so the sensitivity run tests what it says."""

import ast
import runpy
from collections import Counter
from pathlib import Path

import pytest

PLANT = runpy.run_path(str(Path(__file__).with_name("plant.py")))
FAULTS, REASONS = PLANT["read_catalogue"]()
FORMS = {"isotropic", "diagonal", "radial_tangential"}


def test_every_fault_applies_once():
    assert PLANT["misplaced"](FAULTS) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_file_is_python(fault):
    source = (PLANT["ROOT"] / fault.file).read_text(encoding="utf-8")
    ast.parse(source.replace(fault.old, fault.new))


def test_names_are_unique():
    assert [name for name, n in Counter(fault.name for fault in FAULTS).items() if n > 1] == []


def test_catalogue_covers_every_form():
    assert len(FAULTS) >= 40
    assert all(set(fault.forms) <= FORMS for fault in FAULTS)
    for form in FORMS:
        assert sum(fault.forms == [form] for fault in FAULTS) >= 10


def test_reasons_speak_of_laws_that_exist():
    for law in REASONS:
        file, _, name = law.partition("::")
        path = PLANT["ROOT"] / PLANT["LAWS"] / file
        assert f"def {name}(" in path.read_text(encoding="utf-8"), law
