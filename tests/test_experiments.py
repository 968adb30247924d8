"""Pages of experiments have the tables that their scripts make of the committed results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "experiments"


@pytest.mark.parametrize("name", ["language"])
def test_page_has_the_tables_of_its_rows(name):
    pytest.importorskip("torch")
    command = [sys.executable, str(FOLDER / f"{name}.py"), "table"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert rows
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in rows if line not in page] == []


def test_page_of_dilution_has_the_numbers_of_its_report():
    report = json.loads((FOLDER / "dilution.json").read_text(encoding="utf-8"))
    page = (FOLDER / "dilution.md").read_text(encoding="utf-8")
    columns = [report["keys"].index(4**i) for i in range(3, 9)]
    for quantity in ("weight", "coefficient", "output"):
        for values in report[quantity]["8"].values():
            row = " | ".join(f"{values[i]:.2f}" for i in columns)
            assert f"| {row} |" in page
