"""The array library that a command was asked for."""

from __future__ import annotations

from afa_core.backend import Backend, load
from afa_core.command.errors import CommandError


def usable(name: str, device: str | None = None) -> Backend:
    """Load a backend, or raise CommandError saying why it cannot be used."""
    try:
        backend = load(name)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if backend.unavailable:
        msg = f"backend {name!r} cannot be used here: {backend.unavailable}."
        raise CommandError(msg)
    if device is not None and device not in backend.devices:
        msg = f"backend {name!r} has no device {device!r}; it has {', '.join(backend.devices)}."
        raise CommandError(msg)
    return backend
