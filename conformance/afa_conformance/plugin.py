"""The pytest plugin: what is judged, how hard, and what is said of it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.errors import InvalidArgument

from afa_conformance import descriptions, examples, subject, xfails
from afa_conformance.descriptions import without
from afa_conformance.recorder import LEDGER
from afa_conformance.report import Report, law_of
from afa_conformance.subject import Subject
from afa_core import backend as backends

settings.register_profile("ci", max_examples=30, derandomize=True, deadline=None, database=None)
settings.register_profile("default", max_examples=100, deadline=None)
settings.register_profile("nightly", max_examples=3000, deadline=None)

TRACED = ("jax",)
"""Libraries that compile every operation for every new shape: fewer examples, fewer shapes."""
SHARE_TRACED = 4

NEEDS = {
    "kernel": ("library", "float64"),
    "estimation": ("library", "float64"),
    "decoding": ("library",),
    "window": ("library",),
}
"""What every law of a group needs, beside its own marks."""

HARMLESS = (
    # what libraries deprecate of their own parts and still use, when they compile
    "ignore::DeprecationWarning",
    # torch traces through the cached functions of array-api-compat and says so
    "ignore:Dynamo detected a call to a `functools.lru_cache`-wrapped function:UserWarning",
    # complex arrays are compiled, but slowly
    "ignore:Torchinductor does not support code generation for complex operators:UserWarning",
)

SUBJECT = pytest.StashKey[Subject | None]()
REASON = pytest.StashKey[str]()
EXAMPLE = pytest.StashKey[dict[str, Any]]()
QUICK = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say what is judged."""
    group = parser.getgroup("afa", "Adaptive Filter Attention")
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
    group.addoption("--afa-device", metavar="DEVICE", help="where arrays are sent")
    group.addoption(
        "--afa-dtype",
        choices=descriptions.DTYPES,
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


def pytest_configure(config: pytest.Config) -> None:
    """Load what is judged; JAX is asked for double precision before anything imports it."""
    for line in ("error", *HARMLESS):
        config.addinivalue_line("filterwarnings", line)
    config.addinivalue_line("markers", "needs(*features): features a subject must have")
    config.addinivalue_line("markers", "many_shapes: slow where every new shape is compiled")
    double = config.getoption("--afa-dtype") in (None, "float64")
    os.environ.setdefault("JAX_ENABLE_X64", "1" if double else "0")
    try:
        judged, reason = _load(config)
        config.stash[SUBJECT], config.stash[REASON] = judged, reason
        if text := config.getoption("--afa-example"):
            config.stash[EXAMPLE] = examples.parse(text)
        if path := config.getoption("--afa-xfails"):
            config.stash[xfails.XFAILS] = xfails.read_xfails(path)
    except (OSError, TypeError, ValueError, InvalidArgument) as error:
        raise pytest.UsageError(f"afa_conformance: {error}") from error
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Report(config, judged, reason), "afa-report")


def _load(config: pytest.Config) -> tuple[Subject | None, str]:
    """Return the subject, or None and why its library cannot be used here."""
    backend = backends.load(config.getoption("--afa-backend"))
    if backend.unavailable:
        return None, f"backend {backend.name!r} cannot be used here: {backend.unavailable}"
    judged = subject.load_subject(
        backend,
        config.getoption("--afa-implementation"),
        device=config.getoption("--afa-device"),
        dtype=config.getoption("--afa-dtype"),
        compiled=config.getoption("--afa-compile"),
        tile=config.getoption("--afa-tile"),
    )
    few = backend.name in TRACED or judged.compiled
    profile = config.getoption("--hypothesis-profile", None) or "default"
    config.stash[QUICK] = few and profile == "ci"
    _load_profile(profile, config.getoption("--afa-examples"), few=few)
    supports = judged.supports
    if not judged.complex:
        supports = without("complex", "layout", descriptions.LAYOUTS, supports)
    if not judged.wide:
        supports = without("far", "times", descriptions.TIMES, supports)
    descriptions.LIMITS = descriptions.Limits(supports, judged.dtype, few)
    return judged, ""


def _load_profile(name: str, examples: int | None, *, few: bool) -> None:
    """Set how many examples are drawn: fewer by default where each has to be compiled."""
    chosen = settings.get_profile(name)
    usual = max(2, chosen.max_examples // (SHARE_TRACED if few else 1))
    settings.register_profile("afa", chosen, max_examples=examples or usual)
    settings.load_profile("afa")


@pytest.fixture(scope="session", name="subject")
def _subject(request: pytest.FixtureRequest) -> Subject:
    """Return the implementation under test."""
    judged = request.config.stash[SUBJECT]
    assert judged is not None
    return judged


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the laws, watch them, mark those that are expected to fail."""
    patterns = config.getoption("--afa-law")
    laws = [(item, law) for item in items if (law := law_of(item)) is not None]
    if patterns:
        chosen = [item for item, law in laws if any(law.matches(each) for each in patterns)]
        config.hook.pytest_deselected(items=[each for each in items if each not in chosen])
        items[:] = chosen
    for item, law in laws:
        xfails.mark_xfails(item, law, config.stash.get(xfails.XFAILS, []))
        examples.watch(item, config.stash.get(EXAMPLE, None))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out the laws that cannot be put to the subject, with the reason."""
    LEDGER.open()
    law = law_of(item)
    if law is None or "subject" not in getattr(item, "fixturenames", ()):
        return
    judged = item.config.stash[SUBJECT]
    if judged is None:
        pytest.skip(item.config.stash[REASON])
    if item.get_closest_marker("many_shapes") and item.config.stash.get(QUICK, False):
        pytest.skip("every new shape is compiled: left to the profiles default and nightly")
    needed = [*NEEDS.get(law.group, ())]
    for mark in item.iter_markers("needs"):
        needed += mark.args
    for feature in needed:
        if reason := judged.lacks(feature):
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Send what the ledger holds along with the outcome, from whichever process."""
    result = yield
    if (law := law_of(item)) is not None:
        worst = LEDGER.worst
        found = vars(law) | {
            "examples": LEDGER.examples,
            "failed": LEDGER.failed,
            "worst": None if worst is None else vars(worst),
        }
        result.user_properties.append(("afa", found))
    return result
