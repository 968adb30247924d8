"""The robust filter: iterated reweighting inside every step of the recursion."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, Parameter
from afa_core._checks.parameters import aligned
from afa_core.kalman.forward import sequential_filter, to_filtered
from afa_core.kalman.measurements import Belief, FilterArguments, Prior, prepare_measurements
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
        Normal log-density given the weights, for comparing fits; it is not the log-density of
        the Student-t model.
    weight : array, shape (..., n)
        w, by which the measurement variance of all modes is divided: 1 for a typical
        measurement, near 0 for an outlier, up to (ν + n)/ν for one without residual.
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
    """Filter with a weight for each measurement, small for outliers, by iterated reweighting.

    Each step of `filter` is repeated with measurement variance η²/w, starting from w = 1, with
    w = (ν + n)/(ν + n·mean_k |z_k − x_k|²/η_k²): the weight of a multivariate Student-t shared by
    the modes, where n is the real dimension of the token. The iteration ascends to a local maximum
    of the product of the normal prediction and that Student-t. Earlier steps are not repeated.

    A mode counts in the weight, and in n, where it is observed, its state is known before this
    measurement, and η² > 0.

    Parameters
    ----------
    measurements, times, sde, prior, observed, layout
        As in `filter`.
    dof : array, shape (...), or float
        ν > 0, degrees of freedom of the Student-t of a token, all its modes together.
    iterations : int
        Number of updates of the weight, ≥ 0; with 0 this is `filter`.

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
    data, xp = prepare_measurements(
        FilterArguments(measurements, times, sde, prior, observed, layout, dof)
    )
    belief = data.start.variance
    own_dof = aligned(cast_number(dof, belief.dtype, xp=xp), belief.ndim - 1)

    def weight_of(predicted: Belief, z: Measurement) -> Array:
        weight = xp.ones_like(z.variance[..., 0])  # (1, ...)
        for _ in range(iterations):
            estimate = update(predicted, reweighted(z, weight, xp=xp), xp=xp)
            weight = student_weight(estimate, z, predicted.known, own_dof, xp=xp)
        return weight

    result = sequential_filter(data, weight_of, xp=xp)
    assert result.weight is not None
    return RobustFiltered(*to_filtered(result, data, xp=xp), result.weight[0, ...])


def student_weight(
    estimate: Belief, z: Measurement, known: Array, dof: Parameter, *, xp: Namespace
) -> Array:
    """Return w = (ν + n)/(ν + n·mean_k |z_k − x_k|²/η_k²) over the modes that count.

    It is zero, and so are its derivatives, where the quotient is too large for the dtype.
    """
    parts = z.value.shape[0]
    counted = xp.logical_and(xp.logical_and(z.observed, known), z.variance > 0.0)
    variance = xp.where(counted, z.variance, 1.0)
    residual = xp.where(counted, z.value - estimate.mean, 0.0)
    far = xp.any(residual * (residual / variance) == xp.inf, axis=(0, -1))[None, ...]  # (1, ...)
    residual = xp.where(far[..., None], 0.0, residual)
    ratio = xp.sum(residual * (residual / variance), axis=(0, -1))[None, ...]
    size = parts * xp.sum(xp.astype(counted, ratio.dtype), axis=-1)
    return xp.where(far, 0.0, (dof + size) / (dof + parts * ratio))
