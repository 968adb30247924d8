"""The Rauch–Tung–Striebel recursion: what the future adds to the filter."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.kalman import parallel
from afa_core.kalman.forward import run
from afa_core.kalman.problem import Arguments, Method, Prior, Series, State, prepare
from afa_core.kalman.step import Path, stack
from afa_core.model.rotating_frame import StateLayout
from afa_core.model.sde import DiagonalSDE, IsotropicSDE


class Smoothed(NamedTuple):
    """What a set of measurements says about the state at each time.

    Parameters
    ----------
    mean : array, shape (..., n, c)
        Of the kind, layout and dtype of the measurements; zero where nothing is known.
    variance : array, shape (..., n, d)
        Total over the real and imaginary part, value²; infinite where nothing is known.
    """

    mean: Array
    variance: Array


def smoother(
    measurements: Array,
    times: Array | None,
    sde: IsotropicSDE | DiagonalSDE,
    *,
    prior: Prior | None = None,
    observed: Array | None = None,
    layout: StateLayout = "interleaved",
    method: Method = "scan",
) -> Smoothed:
    """Estimate the state at each time from all measurements: the Rauch–Tung–Striebel smoother.

    From the last time backwards, with P⁻ = E²P + V the variance predicted from x, P to the next
    time: G = PE/P⁻, x ← (V/P⁻)x + Gx₊, P ← (V/P⁻)P + G²P₊. Every term is positive, so nothing
    cancels; with V = 0 (no process noise, tied times) it is plain transport, G = 1/E. The scan
    carries back (x₊ − x⁻)/P⁻ and P₊/P⁻ instead, which cannot grow.

    Parameters
    ----------
    measurements, times, sde, prior, observed, layout, method
        As in `filter`.

    Returns
    -------
    Smoothed
        At the last time it is what `filter` returns. A mode that is never observed has
        variance infinite, unless there is a prior.

    Raises
    ------
    TypeError, ValueError
        As in `filter`.

    References
    ----------
    Spec §11.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise
    >>> flow = np.asarray([[1120.0], [1160.0], [963.0]])
    >>> walk = IsotropicSDE(0.0, 0.0, Noise(process=1469.1, measurement=15099.0, query=0.0))
    >>> smoother(flow, None, walk, layout="real").mean[:, 0]
    array([1086.71978181, 1083.48168866, 1072.79852953])
    """
    series, xp = prepare(Arguments(measurements, times, sde, prior, observed, layout))
    path = run(series, method, xp=xp)
    trace = parallel.backward if method == "scan" else backward
    smoothed = trace(path, series, xp=xp)
    ever = smoothed.known[..., -1:, :]
    variance = xp.where(ever, smoothed.variance, xp.inf)
    return Smoothed(series.write(smoothed.mean, xp=xp), variance)


def backward(path: Path, s: Series, *, xp: Namespace) -> State:
    """Run the recursion from the last time to the first."""
    transition, process = s.transitions(xp=xp)
    last = s.observed.shape[-2] - 1
    states = [_at(path.filtered, last)]
    for i in range(last - 1, -1, -1):
        state = retrace(
            _at(path.filtered, i),
            _at(path.predicted, i + 1).variance,
            states[-1],
            transition[..., i + 1, :],
            process[..., i + 1, :],
            xp=xp,
        )
        states.append(state)
    return stack(states[::-1], xp=xp)


def retrace(
    filtered: State,
    predicted_variance: Array,
    later: State,
    transition: Array,
    process: Array,
    *,
    xp: Namespace,
) -> State:
    """Return the belief given the future too, from the smoothed belief one step later.

    Where the past says nothing yet it is the limit P → ∞: carry back, x₊/E and (P₊ + V)/E²,
    infinite where E = 0. A state already known exactly stays.
    """
    informed = predicted_variance > 0.0
    total = xp.where(informed, predicted_variance, 1.0)
    back = xp.where(transition > 0.0, 1.0 / xp.where(transition > 0.0, transition, 1.0), 0.0)
    gain = xp.where(informed, filtered.variance * transition / total, 0.0)
    share = xp.where(informed, process / total, 1.0)
    gain = xp.where(filtered.known, gain, back)
    own_mean = xp.where(filtered.known, share * filtered.mean, 0.0)
    own_variance = xp.where(filtered.known, share * filtered.variance, gain**2 * process)
    lost = xp.logical_not(xp.logical_or(filtered.known, transition > 0.0))
    return State(
        own_mean + gain * later.mean,
        xp.where(lost, xp.inf, own_variance + gain**2 * later.variance),
        filtered.known,
    )


def _at(states: State, i: int) -> State:
    return State(*(x[..., i, :] for x in states))
