"""Numbers as text: three digits and a unit."""

from __future__ import annotations

TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
SIZE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def seconds_text(seconds: float) -> str:
    """Return a time, as ``"12.3 ms"``."""
    return _scaled(seconds, TIME_UNITS)


def bytes_text(count: float) -> str:
    """Return a size in powers of ten, as ``"45.6 MB"``."""
    return _scaled(count, SIZE_UNITS)


def digits(number: float) -> str:
    """Return a number to three digits, with an exponent only if it is very small or large."""
    if number and (abs(number) < 1e-3 or abs(number) >= 1e5):
        size, _, power = f"{number:.1e}".partition("e")
        return f"{size.removesuffix('.0')}e{int(power)}" if power else size
    places = 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0
    return f"{number:.{3 if abs(number) < 1 else places}f}"


def percent(number: float) -> str:
    """Return a share in percent."""
    return f"{100 * number:.0f} %"


def _scaled(number: float, units: tuple[tuple[float, str], ...]) -> str:
    size, unit = next((each for each in units if number >= each[0]), units[-1])
    return f"{digits(number / size)} {unit}"
