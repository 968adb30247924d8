"""Examples: noting those that hypothesis draws, and putting a law to one of them again."""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.recorder import LEDGER
from afa_conformance.series import SeriesDescription


def watch(item: pytest.Item, example: dict[str, Any] | None) -> None:
    """Let the ledger see every example of a law; or put it to the one given."""
    if not isinstance(item, pytest.Function):
        return
    function = item.obj
    if not hasattr(function, "hypothesis"):
        item.obj = LEDGER.watch(function, item.fixturenames)
        return
    inner = function.hypothesis.inner_test
    if not hasattr(inner, "__wrapped__"):  # the cases of a law share the function
        inner = function.hypothesis.inner_test = LEDGER.watch(inner, item.fixturenames)
    if example is None:
        return

    @wraps(function, updated=())
    def once(**fixtures: Any) -> Any:
        return inner(**(fixtures | example))

    item.obj = once


def parse(text: str) -> dict[str, Any]:
    """Return the drawn arguments in a line such as ``description=Description(seed=3)``.

    Raises
    ------
    ValueError
        If it is no such line.
    """
    known: dict[str, Any] = {"inf": np.inf, "nan": np.nan}
    known |= {each.__name__: each for each in (Description, SeriesDescription)}
    try:
        found: dict[str, Any] = eval(f"dict({text})", {"__builtins__": {"dict": dict}} | known)
    except Exception as error:
        msg = f"`example` must be as a broken law printed it, got {text!r}: {error}."
        raise ValueError(msg) from error
    return found
