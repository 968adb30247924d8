"""The options of the pytest plugin: what is tested, on what, and how it is reported."""

from __future__ import annotations

import pytest

from afa_conformance.descriptions import DTYPES


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose what is tested, on what, and how it is reported."""
    group = parser.getgroup("afa", "Adaptive Filter Attention")
    _add_subject(group)
    _add_run(group)


def _add_subject(group: pytest.OptionGroup) -> None:
    """Add the options that say what is tested."""
    group.addoption(
        "--afa-backend",
        default="numpy",
        metavar="NAME",
        help="a registered backend, or the path of an array module such as array_api_strict",
    )
    group.addoption(
        "--afa-implementation",
        default="auto",
        metavar="NAME",
        help="an implementation of afa_core, or module:function with attention's signature",
    )
    group.addoption(
        "--afa-device",
        metavar="DEVICE",
        help="where arrays are sent; gpu is the first GPU of the library, if there is one",
    )
    group.addoption(
        "--afa-dtype",
        choices=DTYPES,
        help="in which numbers are drawn (default: float64, or the widest that is supported)",
    )
    group.addoption(
        "--afa-examples",
        type=int,
        metavar="N",
        help="examples a law (default: those of the hypothesis profile ci, default or nightly)",
    )
    group.addoption(
        "--afa-tile", type=int, metavar="N", help="tokens in a tile of afa_core's implementations"
    )
    group.addoption("--afa-compile", action="store_true", help="compile attention first")
    group.addoption("--afa-export", action="store_true", help="export attention first, and load it")


def _add_run(group: pytest.OptionGroup) -> None:
    """Add the options that choose laws and examples, and say what is expected and reported."""
    group.addoption(
        "--afa-xfails", metavar="FILE", help="laws that are known to fail: 'LAW  # reason' a line"
    )
    group.addoption("--afa-report", metavar="FILE", help="write what was found as JSON")
    group.addoption(
        "--afa-law",
        action="append",
        metavar="LAW",
        help="only the laws of that name or pattern, such as attention/test_units.py::*",
    )
    group.addoption(
        "--afa-example",
        metavar="TEXT",
        help="put the laws to one example, as a broken law printed it, instead of drawing",
    )
