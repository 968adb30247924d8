"""What holds only when a version is released: `nox -s release` sets AFA_RELEASE."""

import os
import re
import tomllib
from pathlib import Path

import pytest

if "AFA_RELEASE" not in os.environ:
    pytest.skip("`nox -s release` checks a release", allow_module_level=True)

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]


@pytest.mark.parametrize("name", ["Repository", "Documentation", "Changelog", "Security"])
def test_the_metadata_has_the_address(name):
    msg = f"Set {name} in [project.urls] of pyproject.toml: CONTRIBUTING.md says to what."
    assert PROJECT["urls"].get(name, "").startswith("https://"), msg


def test_the_version_is_a_release():
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_the_changelog_is_written():
    pending = {path.name for path in (ROOT / "changes").iterdir()} - {"README.md"}
    assert not pending, f"Run `towncrier build --version {VERSION}`."
    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (.*) \((.*)\)$", page, flags=re.MULTILINE)
    assert latest[1] == VERSION
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert {f"version: {VERSION}", f"date-released: {latest[2]}"} <= set(citation)
