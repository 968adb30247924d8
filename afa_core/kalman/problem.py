"""From the caller's measurements to a series in the rotating frame."""

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
    dtype_name,
    insert_axes,
    is_number,
    namespace,
    wide_dtype,
)
from afa_core._checks.shapes import check_axis, check_same_kind, parameter_shapes
from afa_core.model.covariance import decay_factor, propagated_covariance
from afa_core.model.rotating_frame import (
    Clock,
    StateLayout,
    cast_model,
    cast_number,
    check_times,
    clock,
    count_modes,
    model_parameters,
    model_shapes,
    per_mode,
    read_parts,
    turn,
    write_parts,
)
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, RadialTangentialSDE, check_instance

Method = Literal["scan", "sequential"]


class Prior(NamedTuple):
    """What is known of the state at the first time, before it is measured: a proper normal.

    Parameters
    ----------
    mean : array, shape (..., c), or float
        Of the kind and layout of the measurements.
    variance : array, shape (..., d), or float
        Total variance of each mode, value², finite and ≥ 0; σ²/2μ is the stationary one.
    """

    mean: Parameter
    variance: Parameter


class State(NamedTuple):
    """A normal belief about the state, in the rotating frame."""

    mean: Array  # (p, ..., d)
    variance: Array  # (..., d), meaningless where not known
    known: Array  # (..., d), False where the belief is still diffuse


class Series(NamedTuple):
    """Measurements in the rotating frame, cast, gaps zeroed, with the model of every step."""

    measured: Array  # (p, ..., n, d)
    observed: Array  # (..., n, d)
    clock: Clock
    angle: Array | None  # (..., n, d), in the widest dtype
    sde: DiagonalSDE
    start: State
    layout: StateLayout
    dtype: DType  # of the measurements

    def noise(self, *, xp: Namespace) -> Array:
        """Return η², (..., d)."""
        return xp.zeros_like(self.start.variance) + self.sde.noise.measurement

    def transitions(self, *, xp: Namespace) -> tuple[Array, Array]:
        """Return E(Δ) and V(Δ) of the step that leads to each token, both (..., n, d)."""
        lag = self.clock.lag[..., None]
        decay, process = insert_axes(self.sde.decay, 1), insert_axes(self.sde.noise.process, 1)
        return (
            decay_factor(lag, decay, xp=xp),
            propagated_covariance(lag, decay, process, xp=xp),
        )

    def write(self, mean: Array, *, xp: Namespace) -> Array:
        """Turn means forward and give them the kind, layout and dtype of the measurements."""
        return write_parts(turn(mean, self.angle, xp=xp), self.layout, self.dtype, xp=xp)


class Arguments(NamedTuple):
    """The arguments of the estimators as they arrive."""

    measurements: Array
    times: Array | None
    sde: SDE
    prior: Prior | None
    observed: Array | None
    layout: StateLayout
    dof: Parameter = 1.0


def prepare(a: Arguments) -> tuple[Series, Namespace]:
    """Check the arguments, but for their values, and bring them into the rotating frame.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.
    """
    xp = _check_kinds(a)
    modes = count_modes("measurements", a.measurements, a.layout, xp=xp)
    leading = _check_shapes(a, modes)
    device, tokens = device_of(a.measurements), a.measurements.shape[-2]
    dtype, wide = compute_dtype(xp, a.measurements), wide_dtype(xp, device)
    times, observed = a.times, a.observed
    if times is None:
        times = xp.arange(tokens, dtype=wide, device=device)
    if observed is None:
        observed = xp.ones((tokens, modes), dtype=xp.bool, device=device)
    assert isinstance(a.sde, IsotropicSDE | DiagonalSDE)
    sde = cast_model(per_mode(a.sde), dtype, wide, xp=xp)
    ticks = clock(times, dtype, wide, xp=xp)
    angle = None if a.layout == "real" else pairs.angle(sde.frequency, ticks.elapsed)

    observed = xp.broadcast_to(observed, (*leading, tokens, modes))
    read = xp.broadcast_to(a.measurements, (*leading, *a.measurements.shape[-2:]))
    measured = xp.where(observed, read_parts(read, a.layout, dtype, xp=xp), 0.0)
    series = Series(
        measured=turn(measured, None if angle is None else -angle, xp=xp),
        observed=observed,
        clock=ticks,
        angle=angle,
        sde=sde,
        start=_start(a.prior, read[..., 0, :], a.layout, modes, dtype, xp=xp),
        layout=a.layout,
        dtype=a.measurements.dtype,
    )
    return series, xp


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
) -> State:
    """Return the belief at the first time; without a prior nothing is known."""
    variance = xp.zeros((*like.shape[:-1], modes), dtype=dtype, device=device_of(like))
    known = xp.zeros(variance.shape, dtype=xp.bool, device=device_of(like))
    parts = 1 if layout == "real" else 2
    if prior is None:
        return State(xp.stack([variance] * parts, axis=0), variance, known)
    if is_number(prior.mean):
        mean = xp.stack([variance + float(cast(float, prior.mean)), variance][:parts], axis=0)
    else:
        mean = read_parts(xp.broadcast_to(prior.mean, like.shape), layout, dtype, xp=xp)
    return State(mean, variance + cast_number(prior.variance, dtype, xp=xp), xp.logical_not(known))


def _check_kinds(a: Arguments) -> Namespace:
    if isinstance(a.sde, RadialTangentialSDE):
        msg = (
            "`sde` must be of type IsotropicSDE or DiagonalSDE, got RadialTangentialSDE, whose "
            "noise follows the state: it is not linear and has no exact filter. Pass an "
            "IsotropicSDE, or use `afa_core.estimate`."
        )
        raise TypeError(msg)
    check_instance("sde", a.sde, IsotropicSDE, DiagonalSDE)
    optional = {"times": a.times, "observed": a.observed}
    arrays = {"measurements": a.measurements} | {
        name: x for name, x in optional.items() if x is not None
    }
    for name, x in arrays.items():
        check_array(name, x)
    parameters = {**model_parameters(a.sde), "dof": a.dof}
    check_parameter("dof", a.dof)
    if a.prior is not None:
        check_instance("prior", a.prior, Prior)
        check_parameter("prior.variance", a.prior.variance)
        parameters["prior.variance"] = a.prior.variance
        if not is_number(a.prior.mean):
            check_array("prior.mean", a.prior.mean)
            arrays["prior.mean"] = cast(Array, a.prior.mean)
    xp = namespace(**arrays, **parameters)
    check_devices(xp, **arrays, **parameters)
    if "prior.mean" in arrays:
        check_same_kind({k: arrays[k] for k in ("measurements", "prior.mean")}, xp=xp)
    if a.times is not None:
        check_times(a.times, xp=xp)
    if a.observed is not None and not xp.isdtype(a.observed.dtype, "bool"):
        msg = (
            "`observed` must be boolean (True where measured), "
            f"got {dtype_name(a.observed.dtype)}. Compare it with something first."
        )
        raise TypeError(msg)
    return xp


def _check_shapes(a: Arguments, modes: int) -> tuple[int, ...]:
    """Return the leading shape that all arguments broadcast to."""
    tokens = a.measurements.shape[-2]
    if tokens == 0:
        msg = (
            "`measurements` must have shape (..., n ≥ 1, channels), "
            f"got {tuple(a.measurements.shape)}. Skip an empty series."
        )
        raise ValueError(msg)
    leading = {"measurements": a.measurements.shape[:-2]}
    if a.times is not None:
        check_axis("times", a.times, -1, tokens, "the tokens of `measurements`")
        leading["times"] = a.times.shape[:-1]
    if a.observed is not None:
        sizes = zip(reversed(a.observed.shape), (modes, tokens), strict=False)
        if any(own not in (1, size) for own, size in sizes):
            msg = (
                f"`observed` must broadcast to (..., {tokens}, {modes}), tokens by modes, "
                f"got {tuple(a.observed.shape)}. Give axes that do not vary length 1."
            )
            raise ValueError(msg)
        leading["observed"] = a.observed.shape[:-2]
    parameters = {"dof": a.dof}
    if a.prior is not None:
        parameters["prior.variance"] = a.prior.variance
        if not is_number(a.prior.mean):
            mean = cast(Array, a.prior.mean)
            channels = a.measurements.shape[-1]
            check_axis("prior.mean", mean, -1, channels, "the channels of `measurements`")
            leading["prior.mean"] = mean.shape[:-1]
    leading |= parameter_shapes(parameters, {"prior.variance": (modes, "measurements")})
    return broadcast_shape(leading | model_shapes(a.sde, modes, "measurements", a.layout))
