"""States as real parts in the rotating frame, where the parts are independent.

In the frame that rotates with a mode, x̃(t) = e^{−iωt} x(t) obeys dx̃ = −μ x̃ dt + σ dw: the real and
the imaginary part are independent, with equal variances. A state is represented by its p real
parts in that frame, (p, ..., d), with p = 2 for complex modes and p = 1 for real channels, and by
its total variance, (..., d), of which each part has the fraction 1/p.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args

from afa_core._array import pairs
from afa_core._array.arrays import (
    Array,
    DType,
    Namespace,
    Parameter,
    append_axes,
    device_of,
    dtype_name,
    is_number,
    wide_integer,
)
from afa_core._array.pairs import Pair
from afa_core._checks.shapes import check_floating, check_layout, check_width, parameter_shapes
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, Noise, parameters_of

StateLayout = Literal["interleaved", "halves", "real"]


def read_parts(x: Array, layout: StateLayout, dtype: DType, *, xp: Namespace) -> Array:
    """Return the real parts of a state, (..., c) to (p, ..., d)."""
    if layout == "real":
        return xp.astype(x, dtype, copy=False)[None, ...]
    return xp.stack(list(pairs.cast(pairs.split(x, layout, xp=xp), dtype, xp=xp)), axis=0)


def write_parts(parts: Array, layout: StateLayout, dtype: DType, *, xp: Namespace) -> Array:
    """Undo `read_parts`: (p, ..., d) to (..., c) of the given dtype."""
    if layout == "real":
        return xp.astype(parts[0, ...], dtype, copy=False)
    return pairs.join(as_pair(parts, xp=xp), layout, dtype, xp=xp)


def as_pair(parts: Array, *, xp: Namespace) -> Pair:
    """Return the parts as complex modes; a real channel has no imaginary part."""
    real = parts[0, ...]
    return Pair(real, parts[1, ...] if parts.shape[0] == 2 else xp.zeros_like(real))


def rotate_parts(parts: Array, angle: Array | None, *, xp: Namespace) -> Array:
    """Return e^{iθ} ⊙ x; real channels, for which the angle is None, are not rotated."""
    if angle is None:
        return parts
    return xp.stack(list(pairs.rotate(as_pair(parts, xp=xp), angle, xp=xp)), axis=0)


class TimeSteps(NamedTuple):
    """Differences of times, subtracted before they are cast."""

    elapsed: Array  # t_i − t_0, (..., n), in the widest dtype
    lag: Array  # t_i − t_{i−1}, zero for the first, (..., n), in the dtype of the computation


def time_steps(times: Array, dtype: DType, wide: DType, *, xp: Namespace) -> TimeSteps:
    """Return the differences of times (..., n)."""
    if xp.isdtype(times.dtype, "signed integer"):
        exact = wide_integer(xp, device_of(times))
    else:
        exact = xp.result_type(times.dtype, wide)
    times = xp.astype(times, exact, copy=False)
    first = times[..., :1]
    lag = xp.concat([first - first, times[..., 1:] - times[..., :-1]], axis=-1)
    return TimeSteps(xp.astype(times - first, wide), xp.astype(lag, dtype))


def per_mode(sde: IsotropicSDE | DiagonalSDE) -> DiagonalSDE:
    """Return the model with every parameter per mode, (..., d) or (..., 1)."""
    if isinstance(sde, DiagonalSDE):
        return sde
    noise = Noise(*(append_axes(x, 1) for x in sde.noise))
    return DiagonalSDE(append_axes(sde.decay, 1), sde.frequency, noise)


def cast_model(sde: DiagonalSDE, dtype: DType, wide: DType, *, xp: Namespace) -> DiagonalSDE:
    """Cast the array parameters to the dtype of the computation, the frequency to the widest."""
    decay, process, measurement, query = (
        cast_number(x, dtype, xp=xp) for x in (sde.decay, *sde.noise)
    )
    frequency = cast_number(sde.frequency, wide, xp=xp)
    return DiagonalSDE(decay, frequency, Noise(process, measurement, query))


def cast_number(x: Parameter, dtype: DType, *, xp: Namespace) -> Parameter:
    """Cast an array parameter; a number becomes a plain float."""
    return float(cast(float, x)) if is_number(x) else xp.astype(x, dtype, copy=False)


def count_modes(name: str, x: Array, layout: StateLayout, *, rank: int = 2, xp: Namespace) -> int:
    """Return d after checking that `x` holds states, (..., n, c) or with rank 1 (..., c).

    Raises
    ------
    TypeError
        If `x` is not floating, or is complex although the layout is "real".
    ValueError
        If the layout is unknown, or the shape does not fit it.
    """
    check_layout(layout, get_args(StateLayout))
    kind = check_floating(xp, name, x)
    if layout == "real" and kind == "complex":
        msg = (
            f"`{name}` must be real for `layout` 'real', got {dtype_name(x.dtype)}. "
            "Leave `layout` out for complex modes."
        )
        raise TypeError(msg)
    paired = kind == "real" and layout != "real"
    check_width(name, x, paired=paired, rank=rank)
    return x.shape[-1] // 2 if paired else x.shape[-1]


def model_shapes(sde: SDE, modes: int, of: str, layout: StateLayout) -> dict[str, tuple[int, ...]]:
    """Return the leading shape of each array parameter, after checking its axis of modes.

    Raises
    ------
    TypeError
        If a parameter is neither a number nor a real array.
    ValueError
        If one has another number of modes, or the frequency of a real channel is a number ≠ 0.
    """
    if layout == "real" and is_number(sde.frequency) and sde.frequency != 0:
        msg = (
            f"`sde.frequency` must be 0 for `layout` 'real', got {sde.frequency}: a real channel "
            "does not turn. Pass complex modes, or pairs of real channels."
        )
        raise ValueError(msg)
    parameters = model_parameters(sde)
    diagonal = isinstance(sde, DiagonalSDE)
    per_mode = {x: (modes, of) for x in parameters if diagonal or x == "sde.frequency"}
    return parameter_shapes(parameters, per_mode)


def model_parameters(sde: SDE) -> dict[str, Parameter]:
    """Return the parameters of the dynamics and the noise under their dotted names."""
    found = parameters_of(sde, "sde.")
    return {name: x for name, x in found.items() if name != "sde.value_frequency"}
