"""The parameters of a layer: their shapes, initial values, and the model that they define.

Positive quantities are stored as unconstrained parameters ``raw_…``, and constrained where used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import expm1, log, prod, sqrt
from typing import Any, NamedTuple, TypeAlias

from afa_core._array.arrays import Array, Namespace, Parameter, compute_dtype
from afa_core.layer.settings import PROJECTED, Constraint, Settings
from afa_core.layer.start import Start, check_start
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE
from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform, Weighting

Parameters: TypeAlias = Mapping[str, Any]
"""Arrays of one library by the names of `initial`."""

PROJECTIONS = ("_weight", "_bias")
"""Suffixes of the projections' names; only projections may be in half precision."""


class Initial(NamedTuple):
    """The shape and the initial values of a parameter.

    Parameters
    ----------
    shape : tuple of int
    values : tuple of float
        The initial values, flat in row-major order; empty if they are drawn.
    deviation : float
        The standard deviation of the normal distribution that values are drawn from.
    """

    shape: tuple[int, ...]
    values: tuple[float, ...] = ()
    deviation: float = 0.0


def iterate_initial(
    settings: Settings, start: Start | None = None
) -> Iterator[tuple[str, Initial]]:
    """Yield the names of all parameters of a layer with their shapes and initial values, in order.

    Weights of projections, whose values are drawn, come first, and each before its bias: values
    take at most as much memory as arrays of the shapes that came before.

    Raises
    ------
    TypeError, ValueError
        If a setting is invalid, or inconsistent with another. Names in `fixed` are not checked.
    """
    settings.validate()
    yield from _projections(settings)
    yield from _gains(settings)
    yield from _dynamics(settings, start or Start())


def initial(settings: Settings, start: Start | None = None) -> dict[str, Initial]:
    """Return the shapes and initial values of all parameters of a layer, by name.

    Projections are complex: E|W|² = 2/(fan in + fan out), half on each part (Glorot).

    Raises
    ------
    TypeError, ValueError
        If a setting is invalid, or inconsistent with another.
    """
    found = dict(iterate_initial(settings, start))
    check_fixed(settings, found)
    return found


def check_fixed(settings: Settings, names: Collection[str]) -> None:
    """Raise ValueError unless `fixed` names parameters among all those of a layer."""
    known = [name.removeprefix("raw_") for name in names]
    if unknown := sorted(set(settings.fixed) - {*known, "dof"}):
        listed = ", ".join(map(repr, known))
        msg = f"`fixed` must name parameters of the layer ({listed}), got {unknown}."
        raise ValueError(msg)


def trained(settings: Settings) -> tuple[str, ...]:
    """Return the names of the trainable parameters of a layer: those that its output depends on."""
    constant = {*settings.fixed, *_without_effect(settings)}
    return tuple(name for name in initial(settings) if name.removeprefix("raw_") not in constant)


def _without_effect(settings: Settings) -> Iterator[str]:
    """Yield the names of parameters, without ``raw_``, that the output does not depend on.

    Uniform weights depend on no query and no key.
    """
    if settings.weighting != "uniform":
        return
    for part in ("weight", "bias", "gain"):
        yield from (f"query_{part}", f"key_{part}")
    yield "radius"
    if settings.correlated:
        yield "query_noise"
    if not settings.value_rotation and settings.damping == "free":
        yield "frequency"


def _projections(settings: Settings) -> Iterator[tuple[str, Initial]]:
    for name in (*PROJECTED, "output"):
        of = "query" if name == "output" else name  # outputs are those of queries
        features = settings.features_of(of)
        modes = settings.modes if name in ("query", "key") else settings.value_modes
        modes *= settings.heads_of(of)
        shape = (features, 2 * modes) if name == "output" else (2 * modes, features)
        yield f"{name}_weight", Initial(shape, deviation=1.0 / sqrt(features + modes))
        if settings.bias:
            yield f"{name}_bias", Initial(shape[:1], (0.0,) * shape[0])


def _gains(settings: Settings) -> Iterator[tuple[str, Initial]]:
    for name in settings.normalised:
        modes = settings.value_modes if name == "value" else settings.modes
        shape = (settings.heads_of(name), modes)
        yield f"{name}_gain", Initial(shape, (1.0,) * prod(shape))


def _dynamics(settings: Settings, start: Start) -> Iterator[tuple[str, Initial]]:
    def positive(name: str, shape: tuple[int, ...], *values: float) -> tuple[str, Initial]:
        raw = tuple(unconstrained(x, settings.constraint, name) for x in values)
        return f"raw_{name}", Initial(shape, raw * (prod(shape) // len(raw)))

    check_start(start)
    heads, modes = settings.heads, settings.modes
    rates = (heads, modes) if settings.form == "diagonal" else (heads,)
    noises = (2, heads) if settings.form == "radial_tangential" else rates
    frequency = _geometric(*start.frequency, modes)
    yield "frequency", Initial((heads, modes), frequency * heads)
    if settings.damping == "coupled":
        fastest = max(map(abs, frequency))
        ratios = [decay / fastest for decay in _geometric(*start.decay, heads)]
        yield positive("damping", (heads,), *ratios)
        decays = [start.decay[1]] * heads
        speeds = [abs(x) for x in frequency] if settings.form == "diagonal" else [fastest]
        of_heads = [[ratio * speed for speed in speeds] for ratio in ratios]
    else:
        decays = list(_geometric(*start.decay, rates[-1]))
        yield positive("decay", rates, *decays)
        diagonal = settings.form == "diagonal"
        of_heads = [decays] * heads if diagonal else [[decay] for decay in decays]
    default = sqrt(2.0 * modes) / (modes + settings.sphere)
    measurement = default if start.measurement is None else start.measurement
    if settings.correlated:
        process = list(_process_of_gains(of_heads, measurement, start))
    else:
        process = [2.0 * decay * measurement * start.stationary for decay in decays]
    yield positive("process", noises, *process)
    yield positive("measurement", noises, measurement)
    yield positive("query_noise", noises, default if start.query is None else start.query)
    if settings.weighting in ("student_t", "rational"):
        yield positive("dof", (heads,), start.dof)
    yield positive("inverse_temperature", (heads,), start.inverse_temperature)
    if settings.gated:
        yield positive("prior_precision", (heads,), start.prior_precision)
    if settings.sphere:
        yield positive("radius", (heads,), start.radius)


def _process_of_gains(
    decays: list[list[float]], measurement: float, start: Start
) -> Iterator[float]:
    """Yield σ² from the decays of every head, for gains of the steady state that heads spread."""
    least, greatest = start.gain
    if not (greatest < 1.0 and 0.0 < start.step < float("inf")):
        msg = (
            f"`start` must give gains (least, greatest) below 1 and a step > 0, got {start.gain} "
            f"and {start.step}."
        )
        raise ValueError(msg)
    for gain, of_head in zip(_geometric(least, greatest, len(decays)), decays, strict=True):
        for decay in of_head:
            rate = 2.0 * decay * start.step
            variance = gain * measurement * (gain / (1.0 - gain) - expm1(-rate))
            yield variance * rate / -expm1(-rate) / start.step


def _geometric(least: float, greatest: float, count: int) -> tuple[float, ...]:
    """Return numbers from the greatest to the least, in equal ratios."""
    if not 0.0 < least <= greatest:
        msg = (
            "`start` must give decays, frequencies and gains as (least, greatest), "
            f"0 < least ≤ greatest, got ({least}, {greatest})."
        )
        raise ValueError(msg)
    return tuple(greatest * (least / greatest) ** (k / max(count - 1, 1)) for k in range(count))


def unconstrained(x: float, constraint: Constraint, name: str) -> float:
    """Return the unconstrained parameter of a positive number, the inverse of `positive`."""
    if not 0.0 < x < float("inf"):
        msg = f"`{name}` must start at a finite number > 0, got {x!r}."
        raise ValueError(msg)
    if constraint == "absolute":
        return x
    return x + log(-expm1(-x))


def positive(raw: Array, settings: Settings, *, xp: Namespace) -> Array:
    """Return the positive number of an unconstrained parameter, at least in single precision."""
    raw = xp.astype(raw, compute_dtype(xp, raw), copy=False)
    if settings.constraint == "absolute":
        return abs(raw)
    return xp.logaddexp(raw, xp.zeros_like(raw))


def sde_of(parameters: Parameters, settings: Settings, *, xp: Namespace) -> SDE:
    """Return the dynamics and the noise of a layer, with leading axis (heads,)."""
    frequency = parameters["frequency"]
    frequency = xp.astype(frequency, compute_dtype(xp, frequency), copy=False)
    decay = _decay(parameters, settings, frequency, xp=xp)
    process, measurement, query = (
        positive(parameters[f"raw_{name}"], settings, xp=xp)
        for name in ("process", "measurement", "query_noise")
    )
    if settings.form == "diagonal":
        return DiagonalSDE(decay, frequency, Noise(process, measurement, query))
    value_frequency: Parameter | None = None if settings.value_rotation else 0.0
    if settings.sphere:
        value_frequency = frequency if settings.value_rotation else 0.0
        frequency = xp.concat([frequency, xp.zeros_like(frequency[..., :1])], axis=-1)
    if settings.form == "isotropic":
        noise = Noise(process, measurement, query)
        return IsotropicSDE(decay, frequency, noise, value_frequency)
    radial, tangential = (
        Noise(process[k, ...], measurement[k, ...], query[k, ...]) for k in (0, 1)
    )
    return RadialTangentialSDE(decay, frequency, radial, tangential, value_frequency)


def _decay(parameters: Parameters, settings: Settings, frequency: Array, *, xp: Namespace) -> Array:
    if settings.damping == "free":
        return positive(parameters["raw_decay"], settings, xp=xp)
    ratio, speed = positive(parameters["raw_damping"], settings, xp=xp), abs(frequency)
    if settings.form == "diagonal":
        return ratio[..., None] * speed
    return ratio * xp.max(speed, axis=-1)


def weighting_of(parameters: Parameters, settings: Settings, *, xp: Namespace) -> Weighting:
    """Return the robust weight of a layer."""
    if settings.weighting == "gaussian":
        return Gaussian()
    if settings.weighting == "uniform":
        return Uniform()
    kind = StudentT if settings.weighting == "student_t" else Rational
    return kind(positive(parameters["raw_dof"], settings, xp=xp))
