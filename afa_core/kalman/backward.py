"""The Rauch–Tung–Striebel recursion, from the last time to the first."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.kalman.forward import run_filter
from afa_core.kalman.measurements import (
    Belief,
    FilterArguments,
    Measurements,
    Method,
    Prior,
    prepare_measurements,
)
from afa_core.kalman.parallel import scan_smoother
from afa_core.kalman.step import FilterPass, stack_beliefs
from afa_core.model.rotating_frame import StateLayout
from afa_core.model.sde import DiagonalSDE, IsotropicSDE


class Smoothed(NamedTuple):
    """The state at each time, given a set of measurements.

    Parameters
    ----------
    mean : array, shape (..., n, c)
        Of the kind, layout and dtype of the measurements; zero where the state is unknown.
    variance : array, shape (..., n, d)
        Total over the real and imaginary part, value²; infinite where the state is unknown.
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

    From the last time backwards, with P⁻ = E²P + V the variance predicted from x, P for the next
    time: G = PE/P⁻, x ← (V/P⁻)x + Gx₊, P ← (V/P⁻)P + G²P₊. Every term is positive, so nothing
    cancels; for V = 0 (no process noise, tied times) it is the inverse transition, G = 1/E. The
    scan propagates (x₊ − x⁻)/P⁻ and P₊/P⁻ instead, which cannot grow.

    Parameters
    ----------
    measurements, times, sde, prior, observed, layout, method
        As in `filter`.

    Returns
    -------
    Smoothed
        At the last time it is what `filter` returns. Without a prior, the variance of a mode
        that is never observed is infinite.

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
    data, xp = prepare_measurements(
        FilterArguments(measurements, times, sde, prior, observed, layout)
    )
    result = run_filter(data, method, xp=xp)
    smooth = scan_smoother if method == "scan" else sequential_smoother
    smoothed = smooth(result, data, xp=xp)
    observed_once = smoothed.known[..., -1:, :]
    variance = xp.where(observed_once, smoothed.variance, xp.inf)
    mean = xp.where(variance == xp.inf, 0.0, smoothed.mean)  # it may be too large for the dtype
    return Smoothed(data.write(mean, xp=xp), variance[0, ...])


def sequential_smoother(result: FilterPass, data: Measurements, *, xp: Namespace) -> Belief:
    """Run the recursion from the last time to the first."""
    transition, process = data.transitions(xp=xp)
    last = data.observed.shape[-2] - 1
    beliefs = [_at(result.filtered, last)]
    for i in range(last - 1, -1, -1):
        belief = smoothing_step(
            _at(result.filtered, i),
            _at(result.predicted, i + 1).variance,
            beliefs[-1],
            transition[..., i + 1, :],
            process[..., i + 1, :],
            xp=xp,
        )
        beliefs.append(belief)
    return stack_beliefs(beliefs[::-1], xp=xp)


def smoothing_step(
    filtered: Belief,
    predicted_variance: Array,
    later: Belief,
    transition: Array,
    process: Array,
    *,
    xp: Namespace,
) -> Belief:
    """Return the smoothed belief from that of the next time.

    Where the filter is still diffuse it is the limit P → ∞: x₊/E and (P₊ + V)/E², infinite where
    E = 0. A state with variance zero is not changed.
    """
    uncertain = predicted_variance > 0.0
    total = xp.where(uncertain, predicted_variance, 1.0)
    inverse = xp.where(transition > 0.0, 1.0 / xp.where(transition > 0.0, transition, 1.0), 0.0)
    gain = xp.where(uncertain, filtered.variance * transition / total, 0.0)
    share = xp.where(uncertain, process / total, 1.0)
    gain = xp.where(filtered.known, gain, inverse)
    own_mean = xp.where(filtered.known, share * filtered.mean, 0.0)
    own_variance = xp.where(filtered.known, share * filtered.variance, gain**2 * process)
    unknown = xp.logical_not(xp.logical_or(filtered.known, transition > 0.0))
    return Belief(
        own_mean + gain * later.mean,
        xp.where(unknown, xp.inf, own_variance + gain**2 * later.variance),
        filtered.known,
    )


def _at(beliefs: Belief, i: int) -> Belief:
    return Belief(*(x[..., i, :] for x in beliefs))
