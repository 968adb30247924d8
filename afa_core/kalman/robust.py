"""The robust filter: iterated reweighting inside every step of the recursion."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, Parameter
from afa_core.kalman.forward import forward, write
from afa_core.kalman.problem import Arguments, Prior, State, prepare
from afa_core.kalman.step import Measurement, reweighted, update
from afa_core.model.rotating_frame import StateLayout, cast_number
from afa_core.model.sde import DiagonalSDE, IsotropicSDE


class RobustFiltered(NamedTuple):
    """`Filtered`, with the weight of each measurement.

    Parameters
    ----------
    mean, variance, predicted_mean, predicted_variance : array
        As in `Filtered`, given the weights.
    log_likelihood : array, shape (..., d)
        Normal log-density given the weights, to compare fits; not that of the Student-t model.
    weight : array, shape (..., n)
        w, by which the measurement variance of all modes was divided: 1 for an ordinary
        measurement, near 0 for an outlier, up to (ν + n)/ν for one that agrees exactly.
    """

    mean: Array
    variance: Array
    predicted_mean: Array
    predicted_variance: Array
    log_likelihood: Array
    weight: Array


def robust_filter(
    measurements: Array,
    times: Array | None,
    sde: IsotropicSDE | DiagonalSDE,
    *,
    dof: Parameter = 4.0,
    iterations: int = 10,
    prior: Prior | None = None,
    observed: Array | None = None,
    layout: StateLayout = "interleaved",
) -> RobustFiltered:
    """Filter with a weight per measurement that is low for outliers: iterated reweighting.

    Each step of `filter` is repeated with measurement variance η²/w, starting from w = 1, with
    w = (ν + n)/(ν + n·mean_k |z_k − x_k|²/η_k²): the weight of a multivariate Student-t that the
    modes share, n being the real dimension of the token. It climbs to a mode of the normal
    prediction times that Student-t. The measurements stay fixed and the past is not revisited.

    A mode takes part in the weight (in n too) where it leaves a residual to judge by: where it
    is observed, is not started by this very measurement, and has η² > 0.

    Parameters
    ----------
    measurements, times, sde, prior, observed, layout
        As in `filter`.
    dof : array, shape (...), or float
        ν > 0, degrees of freedom of the token's Student-t (of all its modes together).
    iterations : int
        How often the weight is renewed, ≥ 0; with none this is `filter`.

    Returns
    -------
    RobustFiltered

    Raises
    ------
    TypeError, ValueError
        As in `filter`; ValueError if `iterations` is negative.

    References
    ----------
    Spec §11.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise
    >>> z = np.asarray([[0.1], [0.0], [9.0], [0.1]])
    >>> fit = robust_filter(z, None, IsotropicSDE(0.0, 0.0, Noise(0.1, 0.1, 0.0)), layout="real")
    >>> fit.weight.round(2)
    array([1.  , 1.25, 0.01, 1.25])
    """
    if not isinstance(iterations, int) or iterations < 0:
        msg = f"`iterations` must be an integer ≥ 0, got {iterations!r}. Pass one, or leave it out."
        raise ValueError(msg)
    series, xp = prepare(Arguments(measurements, times, sde, prior, observed, layout, dof))
    own_dof = cast_number(dof, series.start.variance.dtype, xp=xp)

    def weigh(predicted: State, z: Measurement) -> Array:
        weight = xp.ones_like(z.variance[..., 0])  # (...)
        for _ in range(iterations):
            estimate = update(predicted, reweighted(z, weight), xp=xp)
            weight = student_weight(estimate, z, predicted.known, own_dof, xp=xp)
        return weight

    path = forward(series, weigh, xp=xp)
    assert path.weight is not None
    return RobustFiltered(*write(path, series, xp=xp), path.weight)


def student_weight(
    estimate: State, z: Measurement, known: Array, dof: Parameter, *, xp: Namespace
) -> Array:
    """Return w = (ν + n)/(ν + n·mean_k |z_k − x_k|²/η_k²) over the modes that can be judged."""
    parts = z.value.shape[0]
    judged = xp.logical_and(xp.logical_and(z.observed, known), z.variance > 0.0)
    residual2 = xp.sum((z.value - estimate.mean) ** 2, axis=0)
    ratio = xp.where(judged, residual2 / xp.where(judged, z.variance, 1.0), 0.0)
    size = parts * xp.sum(xp.astype(judged, ratio.dtype), axis=-1)
    return (dof + size) / (dof + parts * xp.sum(ratio, axis=-1))
