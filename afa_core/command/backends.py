"""The backend that a command runs on."""

from __future__ import annotations

from afa_core.backend import Backend, load
from afa_core.command.errors import CommandError


def load_usable(name: str, device: str | None = None) -> Backend:
    """Load a backend that can be used here.

    Raises
    ------
    CommandError
        If there is no such backend, it cannot be used, or it has no such device.
    """
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
