"""Examples: noting those that hypothesis draws, and putting a law to one of them again."""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np
import pytest

from afa_conformance import series
from afa_conformance.descriptions import Description
from afa_conformance.ledger import LEDGER


def watch(item: pytest.Item, example: str | None) -> None:
    """Let the ledger see every example of a law; or run it on the one given as text."""
    if not isinstance(item, pytest.Function):
        return
    function = item.obj
    if not hasattr(function, "hypothesis"):
        item.obj = LEDGER.watch(function, item.fixturenames)
        return
    inner = LEDGER.watch(function.hypothesis.inner_test, item.fixturenames)
    if example is None:
        function.hypothesis.inner_test = inner
        return

    @wraps(function, updated=())
    def once(**fixtures: Any) -> Any:
        return inner(**(fixtures | parse(example)))

    item.obj = once


def parse(text: str) -> dict[str, Any]:
    """Return the drawn arguments in a line such as ``description=Description(seed=3)``."""
    known = {"Description": Description, "Series": series.Description, "inf": np.inf, "nan": np.nan}
    found = eval(f"dict({text})", {"__builtins__": {"dict": dict}} | known)
    assert isinstance(found, dict)
    return found
