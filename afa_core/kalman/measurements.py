"""From the arguments of the estimators to measurements in the rotating frame."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args

from afa_core._array import pairs
from afa_core._array.arrays import (
    Array,
    DType,
    Namespace,
    Parameter,
    broadcast_shape,
    check_array,
    check_devices,
    check_parameter,
    compute_dtype,
    device_of,
    insert_axes,
    is_number,
    namespace,
    wide_dtype,
    with_rank,
)
from afa_core._checks.masks import check_boolean, check_trailing_axes
from afa_core._checks.parameters import aligned
from afa_core._checks.shapes import check_axis, check_same_kind, parameter_shapes
from afa_core._checks.times import check_times
from afa_core.model.covariance import decay_factor, propagated_covariance
from afa_core.model.rotating_frame import (
    StateLayout,
    TimeSteps,
    cast_model,
    cast_number,
    count_modes,
    model_parameters,
    model_shapes,
    per_mode,
    read_parts,
    rotate_parts,
    time_steps,
    write_parts,
)
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, RadialTangentialSDE, check_instance

Method = Literal["scan", "sequential"]


class Prior(NamedTuple):
    """The normal distribution of the state at the first time, before its measurement.

    Parameters
    ----------
    mean : array, shape (..., c), or float
        Of the kind and layout of the measurements.
    variance : array, shape (..., d), or float
        Total variance of each mode, value², ≥ 0; σ²/2μ is the stationary one. A mode of infinite
        variance starts without a prior.
    """

    mean: Parameter
    variance: Parameter


class Belief(NamedTuple):
    """A normal distribution of the state, in the rotating frame.

    The p parts of the state, real and imaginary, are the first axis; what they share has it with
    length 1.
    """

    mean: Array  # (p, ..., d)
    variance: Array  # (1, ..., d), meaningless where not known
    known: Array  # (1, ..., d), False where the distribution is diffuse


class Measurements(NamedTuple):
    """Measurements in the rotating frame, cast, zero where not observed, with their model.

    All arrays but the angle have the axis of parts, and all have as many leading axes.
    """

    value: Array  # (p, ..., n, d)
    observed: Array  # (1, ..., n, d)
    steps: TimeSteps
    angle: Array | None  # ωt, (..., n, d), in the widest dtype; None for real channels
    sde: DiagonalSDE
    start: Belief
    layout: StateLayout
    dtype: DType  # of the measurements

    def noise(self, *, xp: Namespace) -> Array:
        """Return η², (1, ..., d)."""
        return xp.zeros_like(self.start.variance) + self.sde.noise.measurement

    def transitions(self, *, xp: Namespace) -> tuple[Array, Array]:
        """Return E(Δ) and V(Δ) of the step that leads to each token, both (1, ..., n, d)."""
        lag = self.steps.lag[..., None]
        decay, process = insert_axes(self.sde.decay, 1), insert_axes(self.sde.noise.process, 1)
        return (
            decay_factor(lag, decay, xp=xp),
            propagated_covariance(lag, decay, process, xp=xp),
        )

    def write(self, mean: Array, *, xp: Namespace) -> Array:
        """Return means outside the rotating frame, in the layout and dtype of the measurements."""
        return write_parts(rotate_parts(mean, self.angle, xp=xp), self.layout, self.dtype, xp=xp)


class FilterArguments(NamedTuple):
    """The arguments of the estimators, not checked."""

    measurements: Array
    times: Array | None
    sde: SDE
    prior: Prior | None
    observed: Array | None
    layout: StateLayout
    dof: Parameter = 1.0


def prepare_measurements(arguments: FilterArguments) -> tuple[Measurements, Namespace]:
    """Check the arguments except their values, and rotate the measurements.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.
    """
    xp = _check_kinds(arguments)
    measurements, times, sde, prior, observed, layout, _ = arguments
    modes = count_modes("measurements", measurements, layout, xp=xp)
    leading = _check_shapes(arguments, modes)
    device, tokens = device_of(measurements), measurements.shape[-2]
    dtype, wide = compute_dtype(xp, measurements), wide_dtype(xp, device)
    if times is None:
        times = xp.arange(tokens, dtype=wide, device=device)
    if observed is None:
        observed = xp.ones((tokens, modes), dtype=xp.bool, device=device)
    assert isinstance(sde, IsotropicSDE | DiagonalSDE)
    model = aligned(cast_model(per_mode(sde), dtype, wide, xp=xp), 1 + len(leading))
    steps = time_steps(with_rank(times, 2 + len(leading)), dtype, wide, xp=xp)
    angle = None if layout == "real" else pairs.angle(model.frequency, steps.elapsed)[0, ...]

    observed = xp.broadcast_to(observed, (1, *leading, tokens, modes))
    broadcast = xp.broadcast_to(measurements, (*leading, *measurements.shape[-2:]))
    value = xp.where(observed, read_parts(broadcast, layout, dtype, xp=xp), 0.0)
    data = Measurements(
        value=rotate_parts(value, None if angle is None else -angle, xp=xp),
        observed=observed,
        steps=steps,
        angle=angle,
        sde=model,
        start=_start(prior, broadcast[..., 0, :], layout, modes, dtype, xp=xp),
        layout=layout,
        dtype=measurements.dtype,
    )
    return data, xp


def check_method(method: object) -> None:
    """Raise ValueError unless `method` is one of the accepted names."""
    if not (isinstance(method, str) and method in get_args(Method)):
        msg = f"`method` must be one of 'scan', 'sequential', got {method!r}. Leave it out."
        raise ValueError(msg)


def _start(
    prior: Prior | None,
    like: Array,
    layout: StateLayout,
    modes: int,
    dtype: DType,
    *,
    xp: Namespace,
) -> Belief:
    """Return the belief at the first time, diffuse without a prior."""
    zero = xp.zeros((1, *like.shape[:-1], modes), dtype=dtype, device=device_of(like))
    known = xp.zeros(zero.shape, dtype=xp.bool, device=device_of(like))
    parts = 1 if layout == "real" else 2
    if prior is None:
        return Belief(xp.concat([zero] * parts, axis=0), zero, known)
    if is_number(prior.mean):
        mean = xp.concat([zero + float(cast(float, prior.mean)), zero][:parts], axis=0)
    else:
        mean = read_parts(xp.broadcast_to(prior.mean, like.shape), layout, dtype, xp=xp)
    variance = zero + aligned(cast_number(prior.variance, dtype, xp=xp), zero.ndim - 1, 1)
    known = variance < xp.inf
    return Belief(xp.where(known, mean, 0.0), xp.where(known, variance, 0.0), known)


def _check_kinds(arguments: FilterArguments) -> Namespace:
    measurements, times, sde, prior, observed, _, dof = arguments
    if isinstance(sde, RadialTangentialSDE):
        msg = (
            "`sde` must be of type IsotropicSDE or DiagonalSDE, got RadialTangentialSDE, whose "
            "noise follows the state: it is not linear and has no exact filter. Pass an "
            "IsotropicSDE, or use `afa_core.estimate`."
        )
        raise TypeError(msg)
    check_instance("sde", sde, IsotropicSDE, DiagonalSDE)
    optional = {"times": times, "observed": observed}
    arrays = {"measurements": measurements}
    arrays |= {name: x for name, x in optional.items() if x is not None}
    for name, x in arrays.items():
        check_array(name, x)
    parameters = {**model_parameters(sde), "dof": dof}
    check_parameter("dof", dof)
    if prior is not None:
        check_instance("prior", prior, Prior)
        check_parameter("prior.variance", prior.variance)
        parameters["prior.variance"] = prior.variance
        if not is_number(prior.mean):
            check_array("prior.mean", prior.mean)
            arrays["prior.mean"] = cast(Array, prior.mean)
    xp = namespace(**arrays, **parameters)
    check_devices(xp, **arrays, **parameters)
    if "prior.mean" in arrays:
        check_same_kind({name: arrays[name] for name in ("measurements", "prior.mean")}, xp=xp)
    if times is not None:
        check_times("times", times, xp=xp)
    if observed is not None:
        check_boolean("observed", observed, true="where measured", xp=xp)
    return xp


def _check_shapes(arguments: FilterArguments, modes: int) -> tuple[int, ...]:
    """Return the leading shape that all arguments broadcast to."""
    measurements, times, sde, prior, observed, layout, dof = arguments
    tokens = measurements.shape[-2]
    if tokens == 0:
        msg = (
            "`measurements` must have shape (..., n ≥ 1, channels), "
            f"got {tuple(measurements.shape)}. Skip an empty series."
        )
        raise ValueError(msg)
    leading = {"measurements": measurements.shape[:-2]}
    if times is not None:
        check_axis("times", times, -1, tokens, "the tokens of `measurements`")
        leading["times"] = times.shape[:-1]
    if observed is not None:
        check_trailing_axes("observed", observed, (tokens, modes), "tokens by modes")
        leading["observed"] = observed.shape[:-2]
    parameters = {"dof": dof}
    if prior is not None:
        parameters["prior.variance"] = prior.variance
        if not is_number(prior.mean):
            mean = cast(Array, prior.mean)
            channels = measurements.shape[-1]
            check_axis("prior.mean", mean, -1, channels, "the channels of `measurements`")
            leading["prior.mean"] = mean.shape[:-1]
    leading |= parameter_shapes(parameters, {"prior.variance": (modes, "measurements")})
    return broadcast_shape(leading | model_shapes(sde, modes, "measurements", layout))
