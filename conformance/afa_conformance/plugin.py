"""The pytest plugin: which array library is judged, and how many examples hypothesis draws."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from afa_conformance.descriptions import BRIEF
from afa_core import backend as backends
from afa_core.backend import Backend

settings.register_profile("ci", max_examples=30, derandomize=True, deadline=None, database=None)
settings.register_profile("brief", settings.get_profile("ci"), max_examples=BRIEF)
settings.register_profile("deep", max_examples=2000, deadline=None)

TRACED = ("jax",)
"""Libraries that compile every operation for every new shape: fewer examples, fewer shapes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--afa-backend``."""
    group = parser.getgroup("afa", "Adaptive Filter Attention")
    group.addoption(
        "--afa-backend",
        default="numpy",
        metavar="NAME",
        help="a registered backend, or the path of an array module such as array_api_strict",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Ask JAX for double precision before anything imports it, and choose a profile."""
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    if not config.getoption("--hypothesis-profile", None):
        traced = config.getoption("--afa-backend") in TRACED
        settings.load_profile("brief" if traced else "ci")


def pytest_report_header(config: pytest.Config) -> str:
    """Name the library under test."""
    return f"afa backend: {config.getoption('--afa-backend')}"


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Return the array library under test; its tests are skipped where it cannot be used."""
    loaded = backends.load(request.config.getoption("--afa-backend"))
    if loaded.unavailable:
        pytest.skip(f"backend {loaded.name!r} cannot be used here: {loaded.unavailable}")
    return loaded
