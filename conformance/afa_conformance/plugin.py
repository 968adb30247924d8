"""The pytest plugin: loads the implementation under test, chooses its laws, reports outcomes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.errors import InvalidArgument

from afa_conformance.descriptions import LAYOUTS, TIMES
from afa_conformance.drawing import bind
from afa_conformance.examples import parse_example
from afa_conformance.law import LAWS, Law, law_of, may_hold
from afa_conformance.limits import Limits, without
from afa_conformance.loading import first_gpu, load_subject
from afa_conformance.options import pytest_addoption
from afa_conformance.recorder import Recorder
from afa_conformance.report import PROPERTY, Reporter
from afa_conformance.subject import Subject
from afa_conformance.xfails import Xfail, mark_xfails, read_xfails
from afa_core import backend as backends

__all__ = ["pytest_addoption"]

settings.register_profile("ci", max_examples=30, derandomize=True, deadline=None, database=None)
settings.register_profile("default", max_examples=100, deadline=None)
settings.register_profile("nightly", max_examples=3000, deadline=None)

TRACED = ("jax",)
"""Libraries that compile every operation for every new shape: fewer examples of fewer shapes."""
SHARE_TRACED = 4
"""Their examples are this fraction of the profile's."""

NEEDS = {
    "kernel": ("library", "float64"),
    "estimation": ("library", "float64"),
    "decoding": ("library",),
    "window": ("library",),
    "correlated": ("correlated",),
}
"""Features that every law of a group needs, beside those of its own marks."""

MARKERS = (
    "needs(*features): features that the implementation must have",
    "many_shapes: slow where every new shape is compiled",
    "drawn(law, strategies): the law that draws examples, and from what",
    "fewer_examples(share): draw this fraction of the profile's examples",
    "one_at_a_time: not for batches of problems that share a compiled program",
    "asserts: passes without a comparison of numbers to a tolerance",
)

HARMLESS = (
    # raised inside libraries, of their own deprecated parts
    "ignore::DeprecationWarning",
    # torch traces through the cached functions of array-api-compat
    "ignore:Dynamo detected a call to a `functools.lru_cache`-wrapped function:UserWarning",
    # torch compiles complex arrays, but slowly
    "ignore:Torchinductor does not support code generation for complex operators:UserWarning",
    # ONNX Runtime has sines and cosines in single precision only
    "ignore:'(sin|cos)' is not implemented for 'float64':UserWarning",
)


@dataclass(frozen=True)
class LawSession:
    """What the options of a run ask for, and the record of the law that is running.

    Parameters
    ----------
    subject : Subject or None
        The implementation under test; None if its library cannot be used here.
    reason : str
        Why it cannot.
    limits : Limits
    quick : bool
        Whether laws marked `many_shapes` are skipped.
    xfails : sequence of Xfail
    example : mapping or None
        The one example to run laws on, instead of drawing.
    recorder : Recorder
    """

    subject: Subject | None
    reason: str
    limits: Limits
    quick: bool
    xfails: Sequence[Xfail]
    example: Mapping[str, Any] | None
    recorder: Recorder


SESSION = pytest.StashKey[LawSession]()


def pytest_configure(config: pytest.Config) -> None:
    """Load what is under test; ask JAX for double precision before anything imports it."""
    for line in ("error", *HARMLESS):
        config.addinivalue_line("filterwarnings", line)
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    double = config.getoption("--afa-dtype") in (None, "float64")
    os.environ.setdefault("JAX_ENABLE_X64", "1" if double else "0")
    try:
        session = config.stash[SESSION] = _session(config)
    except (OSError, TypeError, ValueError, InvalidArgument) as error:
        raise pytest.UsageError(f"afa_conformance: {error}") from error
    if not hasattr(config, "workerinput"):
        report = Reporter(config, session.subject, session.reason)
        config.pluginmanager.register(report, "afa-report")


def _session(config: pytest.Config) -> LawSession:
    """Return what the options ask for."""
    recorder, limits, quick = Recorder(), Limits(), False
    subject, reason = _load(config, recorder)
    if subject is not None:
        few = subject.name in TRACED or subject.compiled
        profile = config.getoption("--hypothesis-profile", None) or "default"
        examples = config.getoption("--afa-examples")
        _load_profile(profile, examples, few=few and not subject.batch)
        limits, quick = _limits(subject, few_shapes=few), few and profile == "ci"
    example, xfails = config.getoption("--afa-example"), config.getoption("--afa-xfails")
    return LawSession(
        subject,
        reason,
        limits,
        quick,
        xfails=read_xfails(xfails) if xfails else (),
        example=parse_example(example) if example else None,
        recorder=recorder,
    )


def _load(config: pytest.Config, recorder: Recorder) -> tuple[Subject | None, str]:
    """Return the implementation under test, or None and why its library cannot be used here."""
    backend = backends.load(config.getoption("--afa-backend"))
    if backend.unavailable:
        return None, f"backend {backend.name!r} cannot be used here: {backend.unavailable}"
    device = config.getoption("--afa-device")
    if device == "gpu":
        device = first_gpu(backend)
        if device is None:
            return None, f"backend {backend.name!r} has no GPU here"
    subject = load_subject(
        backend,
        config.getoption("--afa-implementation"),
        device=device,
        dtype=config.getoption("--afa-dtype"),
        compiled=config.getoption("--afa-compile"),
        exported=config.getoption("--afa-export"),
        tile=config.getoption("--afa-tile"),
        recorder=recorder,
    )
    return subject, ""


def _limits(subject: Subject, *, few_shapes: bool) -> Limits:
    """Return what may be drawn: what is declared, and what the library and the device have."""
    supports = subject.supports
    if not subject.complex:
        supports = without("complex", "layout", LAYOUTS, supports)
    if not subject.wide:
        supports = without("far", "times", TIMES, supports)
    return Limits(supports, subject.dtype, few_shapes, subject.batch)


def _load_profile(name: str, examples: int | None, *, few: bool) -> None:
    """Set how many examples are drawn: fewer by default where each has to be compiled."""
    chosen = settings.get_profile(name)
    usual = max(2, chosen.max_examples // (SHARE_TRACED if few else 1))
    settings.register_profile(
        "afa",
        chosen,
        max_examples=examples or usual,
        report_multiple_bugs=False,  # which would be a group of errors, without their messages
    )
    settings.load_profile("afa")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import only files that may hold laws that are asked for."""
    patterns = config.getoption("--afa-law")
    if not patterns or collection_path.suffix != ".py" or LAWS not in collection_path.parents:
        return None
    return None if any(may_hold(collection_path, each) for each in patterns) else True


@pytest.fixture(scope="session", name="subject")
def _subject(request: pytest.FixtureRequest) -> Subject:
    """Return the implementation under test."""
    subject = request.config.stash[SESSION].subject
    assert subject is not None
    return subject


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the laws, let them draw examples, mark those that are expected to fail."""
    session = config.stash[SESSION]
    patterns = config.getoption("--afa-law")
    laws = [(item, law) for item in items if (law := law_of(item)) is not None]
    if patterns:
        _require_matches(patterns, [law for _, law in laws])
        chosen = [item for item, law in laws if any(law.matches(each) for each in patterns)]
        config.hook.pytest_deselected(items=[each for each in items if each not in chosen])
        items[:] = chosen
    for item, law in laws:
        mark_xfails(item, law, session.xfails)
        if isinstance(item, pytest.Function):
            bind(item, session.limits, session.recorder, session.example)


def _require_matches(patterns: Sequence[str], laws: Sequence[Law]) -> None:
    """Raise UsageError for a pattern of `--afa-law` that matches no law."""
    for each in patterns:
        if not any(law.matches(each) for law in laws):
            msg = f"--afa-law must be the name or a pattern of a law, got {each!r}: none matches."
            raise pytest.UsageError(msg)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the laws that cannot be put to the implementation, with the reason."""
    session = item.config.stash[SESSION]
    session.recorder.begin()
    law = law_of(item)
    if law is None or "subject" not in getattr(item, "fixturenames", ()):
        return
    if session.subject is None:
        pytest.skip(session.reason)
    if item.get_closest_marker("many_shapes") and session.quick:
        pytest.skip("every new shape is compiled: left to the profiles default and nightly")
    marks = item.iter_markers("needs")
    for feature in (*NEEDS.get(law.group, ()), *(x for mark in marks for x in mark.args)):
        if reason := session.subject.lacks(feature):
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Break a law that passes without a comparison, unless it is marked `asserts`."""
    result = yield
    if law_of(item) is not None and item.get_closest_marker("asserts") is None:
        item.config.stash[SESSION].recorder.require_comparison()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Send the record of a law along with its outcome, from whichever process."""
    result = yield
    if (law := law_of(item)) is not None:
        record = item.config.stash[SESSION].recorder.record
        found = law._asdict() | {
            "examples": record.examples,
            "failed": record.failed,
            "worst": None if record.worst is None else record.worst.report(),
        }
        result.user_properties.append((PROPERTY, found))
    return result
