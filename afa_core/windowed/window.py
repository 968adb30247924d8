"""Attention with a window: far keys by their first order, and how far that can be from exact."""

from __future__ import annotations

from typing import NamedTuple, TypedDict, Unpack

from afa_core._array.arrays import Array, Namespace, is_count
from afa_core._array.pairs import Layout, turned
from afa_core._checks.arguments import Arguments, check_options
from afa_core._checks.problem import Problem, prepare
from afa_core._dispatch import registered
from afa_core.model.covariance import decay_factor
from afa_core.model.sde import SDE, IsotropicSDE
from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform, Weighting
from afa_core.streaming.attention import stream_windowed
from afa_core.streaming.engine import STANDARD
from afa_core.streaming.operands import Fixed, Operands, operands, scale_of
from afa_core.streaming.phases import phases_of
from afa_core.windowed.far_keys import stationary


class WindowOptions(TypedDict, total=False):
    """The keyword arguments of `windowed_attention`, for the function that takes the same ones."""

    weighting: Weighting
    query_times: Array | None
    key_times: Array | None
    layout: Layout


def windowed_attention(
    query: Array,
    key: Array,
    value: Array,
    sde: IsotropicSDE,
    *,
    window: int,
    weighting: Weighting = StudentT(4.0),
    query_times: Array | None = None,
    key_times: Array | None = None,
    layout: Layout = "interleaved",
    tile: int | None = None,
) -> Array:
    r"""Approximate causal `attention`: late keys one by one, earlier ones by what they sum to.

    Far keys do not vanish: each has nearly the weight of a key that has decayed to zero. What it
    adds to that is expanded to first order in E(Δ), for which five sums over the far keys are
    enough, so that n queries take O(n · window) time. `window_error` bounds the error, which
    falls as E² of the window; it is meant for windows of several 1/μ.

    Parameters
    ----------
    query, key, value, weighting, query_times, key_times, layout
        As in `attention`, with `causal` and without mask and temperature. Times must not decrease.
    sde : IsotropicSDE
        Its decay must be positive: without it no key is ever far, and results are NaN.
    window : int
        Number of latest keys, ≥ 1, that a query sees exactly, at least; blocks of queries share
        theirs, so that most see a few more.
    tile : int or None
        Number of queries in a block, ≥ 1; by default half the window.

    Returns
    -------
    array, shape (..., n, c_v)
        As from `attention`.

    Raises
    ------
    TypeError
        If `sde` has another form; and as `attention` does.
    ValueError
        If `window` or `tile` is no positive number; and as `attention` does.

    References
    ----------
    Spec §7.6, §9.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise
    >>> sde = IsotropicSDE(0.1, np.asarray([0.5]), Noise(0.2, 1.0, 1.0))
    >>> x = np.random.default_rng(0).standard_normal((1024, 2))
    >>> windowed_attention(x, x, x, sde, window=100).shape
    (1024, 2)
    >>> bool(window_error(x, x, x, sde, window=100) < 1e-5)
    True
    """
    options: WindowOptions = {
        "weighting": weighting,
        "query_times": query_times,
        "key_times": key_times,
        "layout": layout,
    }
    problem, xp = _prepared(query, key, value, sde, window, options)
    size = None if tile is None else _positive("tile", tile)
    engine = registered("streaming", xp, STANDARD)
    return problem.write(stream_windowed(problem, engine, window, size, xp=xp), xp=xp)


def window_error(
    query: Array,
    key: Array,
    value: Array,
    sde: IsotropicSDE,
    *,
    window: int,
    **options: Unpack[WindowOptions],
) -> Array:
    r"""Bound the error of `windowed_attention`, without its rounding.

    Let ε = E of the least lag of a far key, α = σ²/2μ and Σ∞ = γ² + α. Every weight is w(1 + h)
    with w at lag infinity, and h is a power series in the changes of x and Σ, of relative size at
    most r and s. A series F with coefficients at least as large bounds what is left of h beyond
    the first order, and h itself, by F''/2 and F', and the estimate is off by no more than
    (ε F' + F''/2)/(1 − F') of the longest value. It shows the decay: r and s are O(ε).

    Takes the arguments of `windowed_attention` but for `tile`, and raises its errors.

    Returns
    -------
    array, shape (...)
        For every batch and head the bound of the norm, over all modes, of the error of any
        query; infinite where the window is too short for one. Of the real dtype of `value`.

    References
    ----------
    Spec §9.
    """
    problem, xp = _prepared(query, key, value, sde, window, options)
    o, fixed = operands(problem, phases_of(problem, xp=xp), turned, xp=xp)
    return xp.reshape(_bound(o, fixed, window, xp=xp), problem.leading)


class Majorant(NamedTuple):
    """A series that bounds that of a weight: its value and slopes, where it converges."""

    value: Array
    slope: Array  # of its logarithm
    bend: Array  # the derivative of that
    converges: Array


def _bound(o: Operands, fixed: Fixed, window: int, *, xp: Namespace) -> Array:
    """Return the bound for every head, (g,)."""
    offset = fixed.visibility.keys - fixed.visibility.queries
    first = max(window - offset, 0)  # the first query with a far key
    end = offset + fixed.visibility.queries - window
    far_times = o.key_times[:, max(offset + first - window, 0) : max(end, 0), :]
    if not far_times.shape[1]:
        return xp.zeros_like(o.decay[:, 0, 0])
    lag = xp.min(o.query_times[:, first:, :] - far_times, axis=1, keepdims=True)
    lag = xp.astype(xp.where(lag < 0.0, xp.nan, lag), o.query.dtype, copy=False)
    reach = decay_factor(lag, o.decay, xp=xp)
    found = _majorant(o, fixed, reach, xp=xp)
    whole = found.value * found.slope
    rest = 0.5 * found.value * (found.slope**2 + found.bend)
    left = xp.where(whole < 1.0, 1.0 - whole, 1.0)
    share = (reach * whole + rest) / left
    sound = xp.logical_and(found.converges, whole < 1.0)
    longest = xp.sqrt(_greatest_square(o.value, xp=xp))
    return xp.where(sound, share * longest, xp.inf)[:, 0, 0]


def _majorant(o: Operands, fixed: Fixed, reach: Array, *, xp: Namespace) -> Majorant:
    """Bound the change of a weight by those of x and Σ, relative r and s of at most ε and ε²."""
    alpha = stationary(o, xp=xp)
    sigma = o.query_noise + alpha
    s = reach**2 * abs(o.measurement - alpha) / sigma
    length = reach * xp.sqrt(scale_of(fixed, o, xp=xp) * _greatest_square(o.key, xp=xp) / sigma)
    zero = xp.zeros_like(s)
    if fixed.weighting is Gaussian:  # exp((u + ys)/(1 − s))/(1 − s), y = ‖q‖²/dΣ∞
        y = _greatest_square(o.query, xp=xp) * scale_of(fixed, o, xp=xp) / sigma
        u = length * (2.0 * xp.sqrt(y) + length) + y * s
        left = xp.where(s < 1.0, 1.0 - s, 1.0)
        slope = u / left**2 + s / left
        bend = 2.0 * s * u / left**3 + (s / left) ** 2
        return Majorant(xp.exp(u / left) / left, slope, bend, s < 1.0)
    # (1 − s)^{−a} (1 − r)^{−b}; at most |2c e q·fk|/x∞ ≤ εκ, κ² = c‖k‖²/Σ∞
    r = length * (1.0 + length) + s
    a, b = {
        StudentT: (o.dof, o.dof + 1.0),
        Rational: (zero, zero + 1.0),
        Uniform: (zero + 1.0, zero),
    }[fixed.weighting]
    converges = xp.logical_and(s < 1.0, r < 1.0)
    s, r = (xp.where(converges, each, 0.0) for each in (s, r))
    value = (1.0 - s) ** -a * (1.0 - r) ** -b
    ratio_s, ratio_r = s / (1.0 - s), r / (1.0 - r)
    slope = a * ratio_s + b * ratio_r
    return Majorant(value, slope, a * ratio_s**2 + b * ratio_r**2, converges)


def _greatest_square(x: Array, *, xp: Namespace) -> Array:
    """Return the greatest squared length of a token, (g, 1, 1)."""
    return xp.max(xp.sum(x * x, axis=-1, keepdims=True), axis=1, keepdims=True)


def _prepared(
    query: Array, key: Array, value: Array, sde: SDE, window: int, options: WindowOptions
) -> tuple[Problem, Namespace]:
    """Check the arguments of a window and prepare the problem."""
    check_options(options, WindowOptions)
    _positive("window", window)
    if not isinstance(sde, IsotropicSDE):
        msg = (
            f"`sde` must be an IsotropicSDE, got {type(sde).__name__}: the sums of other forms "
            "are as many as the products of their modes. Use attention()."
        )
        raise TypeError(msg)
    return prepare(Arguments(query, key, value, sde, **options))


def _positive(name: str, x: int) -> int:
    if is_count(x):
        return x
    msg = f"`{name}` must be a positive number of tokens, got {x!r}."
    raise ValueError(msg)
