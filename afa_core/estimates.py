"""What follows from an estimate: prediction, innovation, gate, samples (spec §10).

And two changes of variables that extend the model without touching attention: a constant
input moves the origin, a key delay moves the keys' times.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from afa_core import pairs
from afa_core.arguments import check_axis, check_floating, check_layout, check_width
from afa_core.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    compute_dtype,
    device_of,
    insert_axes,
    is_number,
    namespace,
    wide_dtype,
)
from afa_core.attention import Estimate
from afa_core.covariance import decay_factor
from afa_core.pairs import Layout, Pair
from afa_core.sde import SDE, DiagonalSDE, RadialTangential


class Generator(Protocol):
    """The part of `numpy.random.Generator` that sampling uses."""

    def standard_normal(self, size: tuple[int, ...]) -> Any:
        """Draw standard normal numbers."""
        ...


def predict(mean: Array, sde: SDE, horizon: Parameter, *, layout: Layout = "interleaved") -> Array:
    """Carry an estimate into the future: e^{λh} x̂, at the frequencies of the values.

    Parameters
    ----------
    mean : array, shape (..., n, c_v)
        An estimate, complex or in real pairs of the given `layout`.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
    horizon : array, shape (..., n), or float
        h ≥ 0, time.
    layout : {"interleaved", "halves"}

    Returns
    -------
    array, shape (..., n, c_v)
        Of the kind, layout and dtype of `mean`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes do not fit each other.

    References
    ----------
    Spec §10.
    """
    xp = _namespace("mean", mean, layout, horizon=horizon, decay=sde.decay)
    wide = wide_dtype(xp, device_of(mean))
    if is_number(horizon):
        ahead = xp.asarray([horizon], dtype=wide, device=device_of(mean))  # (1,)
    else:
        check_axis("horizon", cast(Array, horizon), -1, mean.shape[-2], "the tokens of `mean`")
        ahead = xp.astype(cast(Array, horizon), wide, copy=False)  # (..., n)
    if isinstance(sde, DiagonalSDE):
        decay, frequency = insert_axes(sde.decay, 1), sde.frequency
    else:
        decay = append_axes(sde.decay, 2)
        frequency = sde.frequency if sde.value_frequency is None else sde.value_frequency
    modes = _read(mean, layout, xp=xp)
    decayed = xp.astype(decay_factor(ahead[..., None], decay, xp=xp), modes.real.dtype)
    carried = pairs.rotate(modes, pairs.angle(frequency, ahead), xp=xp)
    return pairs.join(pairs.scale(decayed, carried), layout, mean.dtype, xp=xp)


def innovation(mean: Array, value: Array) -> Array:
    """Return x̂ − v, what the filter adds to a token, (..., n, c_v): a residual branch (spec §10).

    Raises
    ------
    TypeError
        If the two come from different libraries or are no arrays.
    ValueError
        If their last two axes differ.
    """
    namespace(mean=mean, value=value)
    check_axis("value", value, -1, mean.shape[-1], "the channels of `mean`")
    check_axis("value", value, -2, mean.shape[-2], "the tokens of `mean`")
    return mean - value


def gate(precision: Any, prior_precision: Parameter) -> Any:
    """Return g = p/(p + p₀), the share of the estimate in g x̂ + (1 − g) v (spec §10).

    Parameters
    ----------
    precision : array, shape (..., n) or (..., n, d), or RadialTangential of two
        p of an estimate, 1/value².
    prior_precision : array, broadcastable to `precision`, or float
        p₀ > 0, 1/value²: how far the token's own value is trusted.

    Returns
    -------
    array or RadialTangential, like `precision`
        In [0, 1): zero for a query that sees no key, which so keeps its own value.

    Raises
    ------
    TypeError
        If an argument is no array, or the two come from different libraries.
    """
    if isinstance(precision, RadialTangential):
        return RadialTangential(*(gate(each, prior_precision) for each in precision))
    namespace(precision=precision, prior_precision=prior_precision)
    return precision / (precision + prior_precision)


def sample(
    estimate: Estimate,
    *,
    rng: Generator,
    query_noise: Parameter = 0.0,
    anchor: Array | None = None,
    layout: Layout = "interleaved",
) -> Array:
    """Draw states from an estimate: complex normal about x̂ of variance 1/p + γ².

    Parameters
    ----------
    estimate : Estimate
        Mean (..., n, c_v) and precision; a query that sees no key has no finite variance.
    rng : numpy.random.Generator
        Gives the numbers; they are moved to the library and device of the mean.
    query_noise : array, broadcastable to the precision, or float
        γ², value²: zero draws states, the query's noise draws tokens.
    anchor : array, shape (..., n, c_v), or None
        The direction of each estimate, needed for a radial–tangential precision alone.
    layout : {"interleaved", "halves"}

    Returns
    -------
    array, shape (..., n, c_v)
        Of the kind, layout and dtype of the mean. Half of the variance falls on the real and
        half on the imaginary part, independently in every channel.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes do not fit, or an anchor is missing or superfluous.

    References
    ----------
    Spec §10.
    """
    mean, precision = estimate
    xp = _namespace("estimate.mean", mean, layout, query_noise=query_noise, anchor=anchor)
    center = _read(mean, layout, xp=xp)

    def standard() -> Array:
        drawn = rng.standard_normal(tuple(center.real.shape))
        return xp.asarray(drawn, dtype=center.real.dtype, device=device_of(mean))

    def deviation(p: Array) -> Array:
        variance = 1.0 / p + query_noise
        return xp.sqrt(variance / 2.0 if p.ndim == mean.ndim else variance[..., None] / 2.0)

    noise = Pair(standard(), standard())
    if isinstance(precision, RadialTangential) == (anchor is None):
        expected = "must be given" if anchor is None else "must be left out"
        msg = f"`anchor` {expected} for a precision of kind {type(precision).__name__}."
        raise ValueError(msg)
    if anchor is None:
        noise = pairs.scale(deviation(precision), noise)
    else:
        along = pairs.project(noise, _read(anchor, layout, xp=xp), xp=xp)
        across = pairs.subtract(noise, along)
        noise = pairs.add(
            pairs.scale(deviation(precision.radial), along),
            pairs.scale(deviation(precision.tangential), across),
        )
    return pairs.join(pairs.add(center, noise), layout, mean.dtype, xp=xp)


def equilibrium(sde: SDE, constant_input: Array, *, layout: Layout = "interleaved") -> Array:
    """Return b = −u/λ, where dx = (Ax + u) dt + … comes to rest.

    Subtract b from query, key and value, attend, and add b: x − b obeys the equation without
    input. A mode with λ = 0 has no equilibrium; there b is NaN or infinite.

    Parameters
    ----------
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        Its `frequency` is used; for values that turn at another one, replace it.
    constant_input : array, shape (..., c)
        u, value/time, complex or in real pairs of the given `layout`.
    layout : {"interleaved", "halves"}

    Returns
    -------
    array, shape (..., c)
        Of the kind, layout and dtype of `constant_input`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.

    References
    ----------
    Spec §10.
    """
    xp = _namespace(
        "constant_input",
        constant_input,
        layout,
        rank=1,
        decay=sde.decay,
        frequency=sde.frequency,
    )
    u = _read(constant_input, layout, xp=xp)
    decay = sde.decay if isinstance(sde, DiagonalSDE) else append_axes(sde.decay, 1)
    length2 = decay**2 + sde.frequency**2
    turned = Pair(decay * u.real - sde.frequency * u.imag, decay * u.imag + sde.frequency * u.real)
    rest = Pair(turned.real / length2, turned.imag / length2)
    return pairs.join(rest, layout, constant_input.dtype, xp=xp)


def delay_keys(key_times: Array, delay: Parameter) -> Array:
    """Return the key times for which every lag grows by δ: Δ + δ in decay, noise and phase.

    Pass the result as `key_times`, with the queries' own `query_times`.

    Parameters
    ----------
    key_times : array, shape (..., m)
        Times of the keys, time.
    delay : array, shape (...), or float
        δ ≥ 0, time: how long a key takes to reach a query; leading axes are batch and heads.

    Returns
    -------
    array, shape (..., m)

    Raises
    ------
    TypeError
        If `key_times` is not a floating array.

    References
    ----------
    Spec §10.
    """
    xp = namespace(key_times=key_times, delay=delay)
    if check_floating(xp, "key_times", key_times) == "complex":
        msg = "`key_times` must be real, got complex. Pass its real part."
        raise TypeError(msg)
    return key_times - append_axes(delay, 1)


def _namespace(
    name: str, x: Array, layout: Layout, *, rank: int = 2, **others: object
) -> Namespace:
    xp = namespace(**{name: x}, **others)
    check_layout(layout)
    kind = check_floating(xp, name, x)
    check_width(name, x if rank == 2 else x[..., None, :], paired=kind == "real")
    return xp


def _read(x: Array, layout: Layout, *, xp: Namespace) -> Pair:
    return pairs.cast(pairs.split(x, layout, xp=xp), compute_dtype(xp, x), xp=xp)
