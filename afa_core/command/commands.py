"""The commands that look at the library: which backends there are, and which code would run."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from afa_core._array.arrays import Array
from afa_core._dispatch import registered
from afa_core.attention import explain
from afa_core.backend import load, names
from afa_core.command.backends import load_usable
from afa_core.command.errors import CommandError
from afa_core.command.summary import text_table
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE


def list_backends(_: argparse.Namespace) -> None:
    """Print which array libraries can be used here, and why the others cannot."""
    rows = [
        (each.name, each.version, ", ".join(each.devices), each.unavailable or "usable")
        for each in map(load, names())
    ]
    print(text_table(("library", "version", "devices", "state"), rows))


def explain_shapes(options: argparse.Namespace) -> None:
    """Print which implementation would run for a shape, and why the others would not."""
    backend = load_usable(options.backend)
    queries, modes = options.queries, options.modes
    keys = queries if options.keys is None else options.keys

    def zeros(tokens: int) -> Array:
        return backend.from_numpy(import_module("numpy").zeros((tokens, 2 * modes), "float32"))

    sde, anchor = _sde(options.form), None
    if isinstance(sde, RadialTangentialSDE):
        anchor = zeros(queries)
    try:
        chosen, others, *_ = explain(
            zeros(queries),
            zeros(keys),
            zeros(keys),
            sde,
            anchor=anchor,
            implementation=options.implementation,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(f"{chosen} would run")
    for name, reason in others.items():
        print(f"{name} would not: {reason}")


def warm_up(_: argparse.Namespace) -> None:
    """Compile the loops of attention on a CPU, for NumPy and PyTorch, and print what is done."""
    load_usable("numpy")
    numpy: Any = import_module("numpy")
    compiled: Any = registered("fused", numpy, None)
    if missing := compiled.missing():
        raise CommandError(f"attention is not compiled here: {missing}")
    for each in compiled.warm_up():
        print(f"compiled: {each}", flush=True)


def _sde(form: str) -> SDE:
    noise = Noise(1.0, 1.0, 1.0)
    if form == "diagonal":
        return DiagonalSDE(1.0, 0.0, noise)
    if form == "isotropic":
        return IsotropicSDE(1.0, 0.0, noise)
    return RadialTangentialSDE(1.0, 0.0, noise, noise)
