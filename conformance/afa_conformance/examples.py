"""Reads an example back from the line that a broken law printed."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.series import SeriesDescription


def parse_example(text: str) -> dict[str, Any]:
    """Return the drawn arguments in a line such as ``description=Description(seed=3)``.

    Raises
    ------
    ValueError
        If the line is not such a call's arguments.
    """
    known: dict[str, Any] = {"inf": np.inf, "nan": np.nan}
    known |= {each.__name__: each for each in (Description, SeriesDescription)}
    try:
        found: dict[str, Any] = eval(f"dict({text})", {"__builtins__": {"dict": dict}} | known)
    except Exception as error:
        msg = f"`example` must be as a broken law printed it, got {text!r}: {error}."
        raise ValueError(msg) from error
    return found
