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

    Values, (s, n) of standard deviation about 1, are added up in cells half a median lag wide.
    Frequencies are at most half a turn in a median lag: at regular times, those beyond are aliases.
    """
    lag = np.diff(times)
    usual = float(np.median(lag[lag > 0.0]))
    width = 0.5 * usual
    span = float(times[-1] - times[0])
    cells = min(int(span / width) + 1, MAX_CELLS)
    width = span / max(cells - 1, 1)
    size = np.abs(values)
    cut = values * np.minimum(1.0, MAX_SCORE / np.where(size > 0.0, size, 1.0))
    length = 2 ** (OVERSAMPLING * cells - 1).bit_length()
    grid = np.zeros((len(values), length), dtype=np.complex128)
    place = np.rint((times - times[0]) / width).astype(np.int64)
    for row, series in enumerate(np.where(observed, cut, 0.0)):
        np.add.at(grid[row], place, series)
    power = np.abs(np.fft.fft(grid, axis=-1)) ** 2
    frequency = 2.0 * np.pi * np.fft.fftfreq(length, width)
    found = np.zeros((len(values), MAX_PEAKS))
    order = np.argsort(frequency)
    order = order[np.abs(frequency[order]) <= np.pi / usual]
    for row, spectrum in enumerate(power[:, order]):
        rises = np.diff(spectrum) > 0.0
        tops = np.flatnonzero(rises[:-1] & ~rises[1:]) + 1
        highest = tops[np.argsort(spectrum[tops])[::-1][: MAX_PEAKS - 1]]
        found[row, : len(highest)] = frequency[order][highest]
    return found
