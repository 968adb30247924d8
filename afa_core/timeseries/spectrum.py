"""Where a rotation shows in a complex series: the peaks of its spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_core.timeseries.innovations import Bools, Floats

MAX_PEAKS = 6
MAX_CELLS = 2**18
MAX_SCORE = 5.0
"""Values are cut off at so many standard deviations."""
OVERSAMPLING = 4


def peaks(values: NDArray[Any], times: Floats, observed: Bools) -> Floats:
    """Return the frequencies of the highest peaks, (s, `MAX_PEAKS`), radians/time, zero among them.

    Values, (s, n) of standard deviation about 1, are added up in cells half a median lag wide, of
    one series at a time: a grid takes more memory than the series.
    Frequencies are at most half a turn in a median lag: at regular times, those beyond are aliases.
    """
    lag = np.diff(times)
    usual = float(np.median(lag[lag > 0.0]))
    width = 0.5 * usual
    span = float(times[-1] - times[0])
    cells = min(int(span / width) + 1, MAX_CELLS)
    width = span / max(cells - 1, 1)
    length = 2 ** (OVERSAMPLING * cells - 1).bit_length()
    place = np.rint((times - times[0]) / width).astype(np.int64)
    frequency = 2.0 * np.pi * np.fft.fftfreq(length, width)
    order = np.argsort(frequency)
    order = order[np.abs(frequency[order]) <= np.pi / usual]
    frequency = frequency[order]
    found = np.zeros((len(values), MAX_PEAKS))
    for row, (series, seen) in enumerate(zip(values, observed, strict=True)):
        spectrum = _power(series[seen], place[seen], length)[order]
        rises = np.diff(spectrum) > 0.0
        tops = np.flatnonzero(rises[:-1] & ~rises[1:]) + 1
        highest = tops[np.argsort(spectrum[tops])[::-1][: MAX_PEAKS - 1]]
        found[row, : len(highest)] = frequency[highest]
    return found


def _power(values: NDArray[Any], place: NDArray[np.int_], length: int) -> Floats:
    """Return the power of measurements of a series at places of a grid, (length,)."""
    grid = np.zeros(length, dtype=np.complex128)
    size = np.maximum(np.abs(values), MAX_SCORE)
    np.add.at(grid, place, values * (MAX_SCORE / size))
    power: Floats = np.abs(np.fft.fft(grid)) ** 2
    return power
