"""Random trajectories of the model and measurements of them (spec §1, §6)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

from afa_core._array import pairs
from afa_core._array.arrays import (
    Array,
    DType,
    Namespace,
    Parameter,
    append_axes,
    broadcast_shape,
    check_array,
    check_devices,
    compute_dtype,
    device_of,
    insert_axes,
    namespace,
    wide_dtype,
    with_rank,
)
from afa_core._checks.parameters import aligned
from afa_core._checks.times import check_times
from afa_core.model.covariance import decay_factor, propagated_covariance
from afa_core.model.rotating_frame import (
    StateLayout,
    as_pair,
    cast_number,
    count_modes,
    model_parameters,
    model_shapes,
    read_parts,
    rotate_parts,
    time_steps,
    write_parts,
)
from afa_core.model.sampling import Generator, check_generator
from afa_core.model.sde import SDE, DiagonalSDE, Noise, RadialTangentialSDE, check_sde

Method = Literal["euler", "linearised"]


class Trajectory(NamedTuple):
    """The states at a sequence of times, and noisy measurements of them.

    Parameters
    ----------
    state : array, shape (..., n, c)
        x(t_i), of the kind, layout and dtype of `initial`; the first is `initial`.
    measurements : array, shape (..., n, c)
        z_i = x(t_i) + v_i.
    """

    state: Array
    measurements: Array


def simulate(
    sde: SDE,
    times: Array,
    *,
    initial: Array,
    rng: Generator,
    method: Method = "euler",
    substeps: int = 1,
    layout: StateLayout = "interleaved",
) -> Trajectory:
    """Draw a trajectory of the SDE and measurements of it.

    Isotropic and diagonal models are discretised exactly for any lag:
    x_{i+1} = e^{λΔ}x_i + N(0, V(Δ)) and z_i = x_i + N(0, η²), with half of each variance in the
    real and half in the imaginary part. In the radial–tangential model,

        dx = (−μ + iω)x dt + (σ_r P_∥ + σ_t P_⊥) dw,   P_∥ = uu†, P_⊥ = I − uu†,

    the process noise and the measurement noise depend on the direction u = x/‖x‖; at x = 0 all of
    the noise is tangential. Drift and noise are exact for a step over which u is only rotated:

    * "euler" (Euler–Maruyama) takes u from the state at the start of each step. The mean and
      E‖x‖² are exact for any step, the distribution in the limit of short steps.
    * "linearised" takes u from the nominal trajectory e^{iωt}x₀ throughout. The covariances are
      those of equation (6.1), exactly.

    Parameters
    ----------
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The model; `value_frequency` and the query noise γ² are not used. Values are not checked:
        `sde.validate()` checks them.
    times : array, shape (..., n)
        Floating or signed integers, n ≥ 1, non-decreasing (not checked).
    initial : array, shape (..., c)
        State at the first time: complex modes (c = d); or real pairs (c = 2d) in the given
        `layout`; or, for `layout` "real", d real channels. Leading axes broadcast against those
        of `times` and of the parameters: one trajectory for each.
    rng : numpy.random.Generator
        Source of the random numbers, which are moved to the library, dtype and device of
        `initial`; the order of the draws is the same for every library.
    method : {"euler", "linearised"}
        For the radial–tangential model; the results of the others do not depend on it.
    substeps : int
        Steps from each time to the next, ≥ 1; only "euler" gets more exact with more.
    layout : {"interleaved", "halves", "real"}
        Of `initial`. The one channel of a real state has all of a variance, and its frequency
        must be 0 (an array is treated as 0).

    Returns
    -------
    Trajectory

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.

    References
    ----------
    Spec §1, §2; §6, equation (6.1).

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise
    >>> sde = IsotropicSDE(0.1, np.asarray([1.0, 2.0]), Noise(0.2, 0.5, 0.0))
    >>> start = np.ones((1000, 2), dtype=np.complex128)
    >>> drawn = simulate(sde, np.arange(5.0), initial=start, rng=np.random.default_rng(0))
    >>> drawn.state.shape
    (1000, 5, 2)
    """
    xp, leading, modes = _check(sde, times, initial, rng, method, substeps, layout)
    device, dtype = device_of(initial), compute_dtype(xp, initial)
    wide = wide_dtype(xp, device)
    axes = 1 + len(leading)  # with that of parts
    steps = time_steps(with_rank(times, axes + 1), dtype, wide, xp=xp)
    tokens = times.shape[-1]
    start = xp.broadcast_to(initial, (*leading, initial.shape[-1]))
    start = read_parts(start, layout, dtype, xp=xp)  # (p, ..., d)
    parts = start.shape[0]
    nominal = start if method == "linearised" else None

    def normal(*axes: int) -> Array:
        drawn = rng.standard_normal((parts, *leading, *axes, modes))
        return xp.asarray(drawn, dtype=dtype, device=device) / math.sqrt(parts)

    step = steps.lag[..., None] / substeps  # (1, ..., n, 1)
    decay, noises = _per_step(aligned(sde, axes), dtype, xp=xp)
    decayed = decay_factor(step, decay, xp=xp)
    process = [propagated_covariance(step, decay, noise.process, xp=xp) for noise in noises]
    driving = normal(tokens, substeps)
    state = _states(start, nominal, decayed, process, driving, xp=xp)

    measurement = [xp.zeros_like(step) + noise.measurement for noise in noises]
    direction = state if nominal is None else nominal[..., None, :]
    measured = state + disturbance(normal(tokens), measurement, direction, xp=xp)

    frequency = aligned(cast_number(sde.frequency, wide, xp=xp), axes, 1)
    angle = None if layout == "real" else pairs.angle(frequency, steps.elapsed)[0, ...]
    return Trajectory(
        *(
            write_parts(rotate_parts(each, angle, xp=xp), layout, initial.dtype, xp=xp)
            for each in (state, measured)
        )
    )


def _states(
    start: Array,
    nominal: Array | None,
    decayed: Array,
    process: list[Array],
    driving: Array,
    *,
    xp: Namespace,
) -> Array:
    """Return the states in the rotating frame, (p, ..., n, d).

    `decayed` is E of each step, `process` V of each step, one or two, and `driving` the standard
    normal numbers of all substeps, (p, ..., n, substeps, d).
    """
    x = start
    states = [x]
    for i in range(1, driving.shape[-3]):
        variances = [v[..., i, :] for v in process]
        for k in range(driving.shape[-2]):
            direction = x if nominal is None else nominal
            noise = disturbance(driving[..., i, k, :], variances, direction, xp=xp)
            x = decayed[..., i, :] * x + noise
        states.append(x)
    return xp.stack(states, axis=-2)


def disturbance(normal: Array, variances: list[Array], direction: Array, *, xp: Namespace) -> Array:
    """Return √v ξ, or for two variances √v_r P_∥ξ + √v_t P_⊥ξ about the given direction."""
    if len(variances) == 1:
        return _root(variances[0], xp=xp) * normal
    radial, tangential = (_root(v, xp=xp) for v in variances)
    projected = pairs.project(as_pair(normal, xp=xp), as_pair(direction, xp=xp), xp=xp)
    parallel = xp.stack(list(projected)[: normal.shape[0]], axis=0)
    return radial * parallel + tangential * (normal - parallel)


def _root(x: Array, *, xp: Namespace) -> Array:
    """Return √x, with derivative 0 at x = 0."""
    positive = x > 0.0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, 1.0)), 0.0)


def _per_step(sde: SDE, dtype: DType, *, xp: Namespace) -> tuple[Parameter, list[Noise]]:
    """Return the decay and one or two noises, shaped to broadcast with steps (1, ..., n, 1)."""

    def spread(x: Parameter) -> Parameter:
        x = cast_number(x, dtype, xp=xp)
        return insert_axes(x, 1) if isinstance(sde, DiagonalSDE) else append_axes(x, 2)

    if isinstance(sde, RadialTangentialSDE):
        noises = [sde.radial_noise, sde.tangential_noise]
    else:
        noises = [sde.noise]
    return spread(sde.decay), [Noise(*(spread(x) for x in noise)) for noise in noises]


def _check(
    sde: SDE,
    times: Array,
    initial: Array,
    rng: Generator,
    method: Method,
    substeps: int,
    layout: StateLayout,
) -> tuple[Namespace, tuple[int, ...], int]:
    """Return the namespace, the leading shape and the number of modes."""
    check_sde(sde)
    arrays = {"initial": initial, "times": times}
    for name, x in arrays.items():
        check_array(name, x)
    parameters = model_parameters(sde)
    xp = namespace(**arrays, **parameters)
    check_devices(xp, **arrays, **parameters)
    check_times("times", times, xp=xp)
    check_generator(rng)
    if method not in get_args(Method):
        msg = f"`method` must be one of 'euler', 'linearised', got {method!r}."
        raise ValueError(msg)
    if not isinstance(substeps, int) or substeps < 1:
        msg = f"`substeps` must be an integer ≥ 1, got {substeps!r}. Pass one, or leave it out."
        raise ValueError(msg)
    if not times.ndim or not times.shape[-1]:
        msg = f"`times` must have shape (..., n ≥ 1), got {tuple(times.shape)}. Add a time."
        raise ValueError(msg)
    modes = count_modes("initial", initial, layout, rank=1, xp=xp)
    leading = {"initial": initial.shape[:-1], "times": times.shape[:-1]}
    shapes = leading | model_shapes(sde, modes, "initial", layout)
    return xp, broadcast_shape(shapes), modes
