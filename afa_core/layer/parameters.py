"""The parameters of a layer: their shapes, where they start, and the model they stand for.

Positive ones are kept free, as ``raw_…``, and constrained where they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import expm1, log, prod, sqrt
from typing import Any, NamedTuple, TypeAlias

from afa_core._array.arrays import Array, Namespace, Parameter, compute_dtype
from afa_core.layer.settings import PROJECTED, Constraint, Settings
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE
from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform, Weighting

Parameters: TypeAlias = Mapping[str, Any]
"""Arrays of one library by the names of `initial`."""

PROJECTIONS = ("_weight", "_bias")
"""How the names of projections end, which alone are ever in half precision."""


class Start(NamedTuple):
    """Where the parameters of a layer start.

    Parameters
    ----------
    decay : tuple of two floats
        The least and the greatest μ, 1/time; heads (in the diagonal form modes) lie between.
    frequency : tuple of two floats
        The least and the greatest ω, rad/time; the modes of each head lie between.
    measurement, query : float or None
        η² and γ², value²; None is √(2/d) each, the temperature √(2d) of dot-product attention.
    stationary : float
        σ²/2μ over η². At 1 Σ is the same at all lags, and recency is left to be learnt.
    dof, inverse_temperature, prior_precision, radius : float
        ν_s, β, p₀ (1/value²) and R of `Settings`, where a layer has them.

    References
    ----------
    Spec §1, §7.1.
    """

    decay: tuple[float, float] = (1.0 / 1024.0, 1.0 / 8.0)
    frequency: tuple[float, float] = (1e-4, 1.0)
    measurement: float | None = None
    query: float | None = None
    stationary: float = 1.0
    dof: float = 4.0
    inverse_temperature: float = 1.0
    prior_precision: float = 1.0
    radius: float = 1.0


class Initial(NamedTuple):
    """The shape of a parameter, and its first values one by one, or their deviation if normal."""

    shape: tuple[int, ...]
    values: tuple[float, ...] = ()
    deviation: float = 0.0


def initial(s: Settings, start: Start | None = None) -> dict[str, Initial]:
    """Return where all parameters of a layer start, by name.

    Projections are complex: E|W|² = 2/(fan in + fan out), half on each part (Glorot).

    Raises
    ------
    TypeError, ValueError
        If settings are none, or do not fit each other.
    """
    s.validate()
    start = start or Start()
    found = dict(_projections(s)) | dict(_gains(s)) | dict(_dynamics(s, start))
    unknown = set(s.fixed) - {name.removeprefix("raw_") for name in found} - {"dof"}
    if unknown:
        known = ", ".join(repr(name.removeprefix("raw_")) for name in found)
        msg = f"`fixed` must name parameters of the layer ({known}), got {sorted(unknown)}."
        raise ValueError(msg)
    return found


def trained(s: Settings) -> tuple[str, ...]:
    """Return the names of the parameters that training changes."""
    return tuple(name for name in initial(s) if name.removeprefix("raw_") not in s.fixed)


def _projections(s: Settings) -> Iterator[tuple[str, Initial]]:
    for name in (*PROJECTED, "output"):
        modes = s.heads * (s.modes if name in ("query", "key") else s.value_modes)
        deviation = 1.0 / sqrt(s.features + modes)
        shape = (s.features, 2 * modes) if name == "output" else (2 * modes, s.features)
        yield f"{name}_weight", Initial(shape, deviation=deviation)
        if s.bias:
            yield f"{name}_bias", Initial(shape[:1], (0.0,) * shape[0])


def _gains(s: Settings) -> Iterator[tuple[str, Initial]]:
    for name in s.normalised:
        shape = (s.heads, s.value_modes if name == "value" else s.modes)
        yield f"{name}_gain", Initial(shape, (1.0,) * prod(shape))


def _dynamics(s: Settings, start: Start) -> Iterator[tuple[str, Initial]]:
    def positive(name: str, shape: tuple[int, ...], *values: float) -> tuple[str, Initial]:
        each = tuple(unconstrained(x, s.constraint, name) for x in values)
        return f"raw_{name}", Initial(shape, each * (prod(shape) // len(each)))

    heads, diagonal = (s.heads,), s.form == "diagonal"
    frequency = _spread(*start.frequency, s.modes)
    yield "frequency", Initial((s.heads, s.modes), frequency * s.heads)
    if s.damping == "coupled":
        tied = [mu / max(map(abs, frequency)) for mu in _spread(*start.decay, s.heads)]
        yield positive("damping", heads, *tied)
        decay = [start.decay[1]] * s.heads
    else:
        decay = list(_spread(*start.decay, s.modes if diagonal else s.heads))
        yield positive("decay", (s.heads, s.modes) if diagonal else heads, *decay)
    noisy = {"diagonal": (s.heads, s.modes), "radial_tangential": (2, s.heads)}.get(s.form, heads)
    total = s.modes + s.sphere
    usual = sqrt(2.0 * s.modes) / total
    measurement = usual if start.measurement is None else start.measurement
    process = (2.0 * mu * measurement * start.stationary for mu in decay)
    yield positive("process", noisy, *process)
    yield positive("measurement", noisy, measurement)
    yield positive("query_noise", noisy, usual if start.query is None else start.query)
    if s.weighting in ("student_t", "rational"):
        yield positive("dof", heads, start.dof)
    yield positive("inverse_temperature", heads, start.inverse_temperature)
    if s.gated:
        yield positive("prior_precision", heads, start.prior_precision)
    if s.sphere:
        yield positive("radius", heads, start.radius)


def _spread(least: float, greatest: float, count: int) -> tuple[float, ...]:
    """Return numbers from the greatest to the least, in equal ratios."""
    if not 0.0 < least <= greatest:
        msg = (
            f"`start` must give decays and frequencies as (least, greatest), 0 < least ≤ greatest, "
            f"got ({least}, {greatest})."
        )
        raise ValueError(msg)
    return tuple(greatest * (least / greatest) ** (k / max(count - 1, 1)) for k in range(count))


def unconstrained(x: float, constraint: Constraint, name: str) -> float:
    """Return the free parameter that stands for a positive number."""
    if not 0.0 < x < float("inf"):
        msg = f"`{name}` must start at a finite number > 0, got {x!r}."
        raise ValueError(msg)
    if constraint == "absolute":
        return x
    return x + log(-expm1(-x))


def positive(raw: Array, s: Settings, *, xp: Namespace) -> Array:
    """Return the positive number that a free parameter stands for, at least in single precision."""
    raw = xp.astype(raw, compute_dtype(xp, raw), copy=False)
    if s.constraint == "absolute":
        return abs(raw)
    return xp.logaddexp(raw, xp.zeros_like(raw))


def sde_of(p: Parameters, s: Settings, *, xp: Namespace) -> SDE:
    """Return the dynamics and the noise of a layer, of leading axis (heads,)."""
    frequency = p["frequency"]
    frequency = xp.astype(frequency, compute_dtype(xp, frequency), copy=False)
    decay = _decay(p, s, frequency, xp=xp)
    kinds = ("process", "measurement", "query_noise")
    process, measurement, query = (positive(p[f"raw_{each}"], s, xp=xp) for each in kinds)
    if s.form == "diagonal":
        return DiagonalSDE(decay, frequency, Noise(process, measurement, query))
    of_values: Parameter | None = None if s.value_rotation else 0.0
    if s.sphere:
        of_values = frequency if s.value_rotation else 0.0
        frequency = xp.concat([frequency, xp.zeros_like(frequency[..., :1])], axis=-1)
    if s.form == "isotropic":
        return IsotropicSDE(decay, frequency, Noise(process, measurement, query), of_values)
    radial, tangential = (
        Noise(process[k, ...], measurement[k, ...], query[k, ...]) for k in (0, 1)
    )
    return RadialTangentialSDE(decay, frequency, radial, tangential, of_values)


def _decay(p: Parameters, s: Settings, frequency: Array, *, xp: Namespace) -> Array:
    if s.damping == "free":
        return positive(p["raw_decay"], s, xp=xp)
    tied, speed = positive(p["raw_damping"], s, xp=xp), abs(frequency)
    return tied[..., None] * speed if s.form == "diagonal" else tied * xp.max(speed, axis=-1)


def weighting_of(p: Parameters, s: Settings, *, xp: Namespace) -> Weighting:
    """Return the robust weight of a layer."""
    if s.weighting == "gaussian":
        return Gaussian()
    if s.weighting == "uniform":
        return Uniform()
    kind = StudentT if s.weighting == "student_t" else Rational
    return kind(positive(p["raw_dof"], s, xp=xp))
