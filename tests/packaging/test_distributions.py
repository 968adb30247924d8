"""What `uv build` made: `nox -s wheel` names its folder in AFA_DIST."""

import os
import re
import tarfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

PACKAGES = {
    "afa_core",
    "afa_numpy",
    "afa_torch",
    "afa_jax",
    "afa_cupy",
    "afa_bench",
    "afa_conformance",
}

if "AFA_DIST" not in os.environ:
    pytest.skip("`nox -s wheel` builds the distributions", allow_module_level=True)

DIST = Path(os.environ["AFA_DIST"])
README = Path(__file__).parents[2] / "README.md"
LARGEST = {"*.whl": 1_250_000, "*.tar.gz": 3_000_000}
"""Bytes: more is a file that does not belong there, or a decision to take."""


@pytest.fixture(scope="module")
def wheel():
    (path,) = DIST.glob("*.whl")
    with ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def sdist() -> set[str]:
    (path,) = DIST.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_wheel_contains_exactly_the_packages(wheel):
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in roots if not name.endswith(".dist-info")} == PACKAGES


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_package_is_marked_as_typed(wheel, package):
    assert f"{package}/py.typed" in wheel.namelist()


def test_wheel_contains_the_licence(wheel):
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    assert metadata(wheel)["License-Expression"] == "Apache-2.0"


def test_wheel_requires_one_library(wheel):
    required = [
        line for line in metadata(wheel).get_all("Requires-Dist", []) if "extra" not in line
    ]
    assert [line.partition("<")[0].partition(">")[0] for line in required] == ["array-api-compat"]


@pytest.mark.parametrize("pattern", LARGEST)
def test_distributions_are_small(pattern):
    (path,) = DIST.glob(pattern)
    assert path.stat().st_size <= LARGEST[pattern]


def test_description_has_no_picture_link_or_formula_of_the_repository(wheel):
    description = metadata(wheel).get_payload()
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert targets
    assert all(target.startswith("https://") for target in targets), targets
    assert not re.search(r"\$\$|^\[[^\]]*\]:|<img|<a ", description, flags=re.MULTILINE)


def test_description_has_the_code_of_the_readme(wheel):
    blocks = re.findall(r"```.*?```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) > 5
    assert all(block in metadata(wheel).get_payload() for block in blocks)


def test_sdist_contains_what_its_checks_need(sdist):
    needed = {"pyproject.toml", "noxfile.py", "constraints.txt", "LICENSE", "CITATION.cff"}
    needed |= {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"}
    assert needed | {"tests/packaging/test_distributions.py"} <= sdist


def test_sdist_carries_no_reports(sdist):
    assert not [name for name in sdist if name.startswith("docs/reports")]
