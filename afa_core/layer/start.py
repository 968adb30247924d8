"""Where the dynamics and the noise of a layer start."""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple


class Start(NamedTuple):
    """Initial values of the dynamics and the noise of a layer.

    Parameters
    ----------
    decay : tuple of two floats
        Minimum and maximum of μ, 1/time. Heads (modes in the diagonal form) are spaced between
        them in equal ratios.
    frequency : tuple of two floats
        Minimum and maximum of ω, rad/time. The modes of each head are spaced between them in
        equal ratios.
    measurement, query : float or None
        η² and γ², value². None is √(2/d) each, the temperature √(2d) of dot-product attention.
    stationary : float
        The ratio of σ²/2μ to η². At 1, Σ is equal at all lags: recency has no effect initially.
    gain : tuple of two floats
        Minimum and maximum of the gain K of the filter at times one `step` apart, each below 1, in
        the place of `stationary` if keys are correlated. Heads are spaced between them in equal
        ratios, so that their memories of 1/K tokens reach from a few tokens to the context. With
        μ and η² the gain determines V = K η² (1/(1 − K) − E²) of a step, and so σ².
    step : float
        Time from one token to the next.
    dof, inverse_temperature, prior_precision, radius : float
        ν_s, β, p₀ (1/value²) and R of `Settings`, for layers that have these parameters.

    References
    ----------
    Spec §1, §7.1, §14.
    """

    decay: tuple[float, float] = (1.0 / 1024.0, 1.0 / 8.0)
    frequency: tuple[float, float] = (1e-4, 1.0)
    measurement: float | None = None
    query: float | None = None
    stationary: float = 1.0
    gain: tuple[float, float] = (1.0 / 1000.0, 1.0 / 4.0)
    step: float = 1.0
    dof: float = 4.0
    inverse_temperature: float = 1.0
    prior_precision: float = 1.0
    radius: float = 1.0


def check_start(start: Start) -> None:
    """Raise TypeError unless the fields that are spread over heads or modes are two numbers."""
    if not isinstance(start, Start):
        msg = f"`start` must be a `Start`, got {type(start).__name__}."
        raise TypeError(msg)
    for name in ("decay", "frequency", "gain"):
        x = getattr(start, name)
        if not (
            isinstance(x, tuple | list)
            and len(x) == 2
            and all(isinstance(each, Real) for each in x)
        ):
            one = f" Pass ({x}, {x}) for one value." if isinstance(x, Real) else ""
            msg = f"`start` must give `{name}` as (least, greatest), two numbers, got {x!r}.{one}"
            raise TypeError(msg)
