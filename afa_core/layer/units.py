"""A layer in another unit of time: its rates are those of the new unit (spec §2)."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array, Namespace, is_number, namespace
from afa_core._checks.values import require_positive
from afa_core.layer.parameters import positive
from afa_core.layer.settings import Settings
from afa_core.layer.value import Layer


def in_time_unit(layer: Layer, unit: float) -> Layer:
    """Return the layer that gives at times t/unit what the given one gives at times t.

    Rates are multiplied by the unit, (μ, ω, σ²) ↦ (unit μ, unit ω, unit σ²), and the horizon is
    divided by it. Tokens at distances of `unit` then come at the default times 0, 1, 2, ….

    Parameters
    ----------
    layer : Layer
    unit : float
        The new unit of time, in the old one; > 0.

    Returns
    -------
    Layer

    Raises
    ------
    TypeError
        If `unit` is no Python number.
    ValueError
        If it is not finite and positive.

    References
    ----------
    Spec §2.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core.layer import Settings, initial
    >>> settings = Settings(features=2, heads=1, modes=1, value_modes=1, constraint="absolute")
    >>> parameters = {name: np.zeros(each.shape) for name, each in initial(settings).items()}
    >>> parameters["raw_decay"] = np.asarray([0.5])  # a second
    >>> in_time_unit(Layer(settings, parameters), 60.0).parameters["raw_decay"]  # a minute
    array([30.])
    """
    if not is_number(unit):
        msg = f"`unit` must be a number, got {type(unit).__name__}. Pass a float."
        raise TypeError(msg)
    require_positive(unit=unit)
    unit = float(unit)  # NumPy's float64 would widen arrays
    settings = layer.settings
    changed: dict[str, Any] = {}
    for name, x in layer.parameters.items():
        if name == "frequency":
            changed[name] = unit * x
        if name in ("raw_decay", "raw_process"):
            changed[name] = _scaled(x, unit, settings, xp=namespace(**{name: x}))
    settings = settings._replace(horizon=settings.horizon / unit)
    return Layer(settings, {**layer.parameters, **changed})


def _scaled(raw: Array, factor: float, settings: Settings, *, xp: Namespace) -> Array:
    """Return the unconstrained parameter of a positive number times a factor."""
    y = factor * positive(raw, settings, xp=xp)
    if settings.constraint == "softplus":
        y = y + xp.log(-xp.expm1(-y))
    return xp.astype(y, raw.dtype, copy=False)
