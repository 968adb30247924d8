"""Times are checked on request: finite, and in order along the tokens that a mask shows."""

import numpy as np
import pytest

import afa_core as afa

GOOD = {
    "ties": [0.0, 0.0, 1.0, 1.0],
    "one": [3.0],
    "none": [],
    "rows": [[0.0, 1.0], [1.7e18, 1.8e18]],
    "integers": [-(2**40), 0, 2**62],
}
BAD = {
    "decrease": ([0.0, 3.0, 2.0, 4.0], "must not decrease, got 2 after 3 at token 2"),
    "later decrease": ([0.0, 3.0, 3.0, 2.5], "must not decrease, got 2.5 after 3 at token 3"),
    "second row": ([[0.0, 1.0], [1.0, 0.0]], "must not decrease, got 0 after 1 at token 1"),
    "integers": ([5, 4], "must not decrease, got 4 after 5 at token 1"),
    "infinite": ([0.0, np.inf], "must be finite, got inf at token 1"),
    "not a number": ([np.nan, 1.0], "must be finite, got nan at token 0"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_times_in_order(kind, library):
    afa.validate_times(library.from_numpy(np.asarray(GOOD[kind])))


@pytest.mark.parametrize("kind", BAD)
def test_times_out_of_order(kind, library):
    times, words = BAD[kind]
    with pytest.raises(ValueError, match=f"`times` {words}"):
        afa.validate_times(library.from_numpy(np.asarray(times)))


@pytest.mark.parametrize("hidden", [9.0, -9.0, np.nan])
def test_hidden_times_are_not_looked_at(hidden, library):
    times = library.from_numpy(np.asarray([0.0, hidden, 1.0]))
    shown = library.from_numpy(np.asarray([[True, False, True], [True, False, True]]))
    afa.validate_times(times, shown)
    with pytest.raises(ValueError, match="`times` must"):
        afa.validate_times(times, library.from_numpy(np.asarray([True, True, True])))


def test_arguments_are_checked(library):
    times = library.from_numpy(np.zeros(3))
    with pytest.raises(ValueError, match=r"`mask` must have shape \(\.\.\., 3\)"):
        afa.validate_times(times, library.from_numpy(np.ones(2, dtype=bool)))
    with pytest.raises(TypeError, match="`mask` must be boolean"):
        afa.validate_times(times, times)
    with pytest.raises(TypeError, match="`times` must"):
        afa.validate_times(library.from_numpy(np.ones(3, dtype=bool)))
