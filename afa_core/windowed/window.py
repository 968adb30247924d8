"""Attention with a window of exact pairs, and the bound of its error."""

from __future__ import annotations

from typing import TypedDict, Unpack

from afa_core._array.arrays import Array, Namespace, is_array, is_count
from afa_core._array.pairs import Layout
from afa_core._checks.arguments import Arguments, collect_arguments
from afa_core._checks.problem import Problem, prepare
from afa_core._dispatch import registered
from afa_core.model.sde import IsotropicSDE
from afa_core.model.weighting import StudentT, Weighting
from afa_core.streaming.attention import rotate_to_queries
from afa_core.streaming.engine import STANDARD, Engine
from afa_core.streaming.influence import streamed_influence
from afa_core.streaming.operands import Operands, StaticProblem, operands_of
from afa_core.streaming.phases import Phases, rotation_phases
from afa_core.windowed.blocks import before_blocks, blocks_for, exact_pairs, near_blocks
from afa_core.windowed.correlated import correlated_bound, correlated_mean
from afa_core.windowed.error_bound import error_bound
from afa_core.windowed.far_keys import far_weights


class WindowOptions(TypedDict, total=False):
    """The keyword arguments of `windowed_attention`, which describes them."""

    weighting: Weighting
    query_times: Array | None
    key_times: Array | None
    mask: Array | None
    layout: Layout
    correlated: bool
    query_variance: Array | None


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
    mask: Array | None = None,
    layout: Layout = "interleaved",
    correlated: bool = False,
    query_variance: Array | None = None,
    tolerance: float | None = None,
    tile: int | None = None,
) -> Array:
    r"""Approximate causal `attention` by a window of exact pairs and sums over all earlier keys.

    Keys before the window still count: each has nearly the weight of a key that has decayed to
    zero. The difference is expanded to first order in E(Δ), which takes five sums over these keys,
    so that n queries take O(n · window) time. `window_error` bounds the error, which decreases as
    E² of the window. The window should be several 1/μ long.

    With `correlated`, keys before the window are left out, x̂_i = Σ_j aw e^{λΔ_ij} v_j/Σ_j aw over
    the others, with the influence a_ij of the whole sequence: all earlier keys together have the
    influence e^{C_i − C_b}, which decreases with every visible key in between. The window should
    be several times as long as the memory, 1/K of the gain K.

    Parameters
    ----------
    query, key, value, weighting, query_times, key_times, layout, correlated
        As in `attention`, with `causal` and without temperature. Times must not decrease along
        visible keys.
    sde : IsotropicSDE
        If keys are not correlated its decay must be positive; with zero decay the results are NaN.
    window : int
        Least number of latest keys, ≥ 1, whose pairs are exact for a query, hidden ones included.
        The queries of a block share their exact keys, so that most have more.
    mask : boolean array, broadcastable to (..., 1, m), or None
        True where queries may attend to a key. Hidden keys are in no sum, and correlated ones are
        no measurements.
    query_variance : array, shape (..., n), or None
        γ² of each query, value², in place of that of `sde`.
    tolerance : float or None
        Far blocks of a window are left out as in `attention`, beside what `window_error` bounds.
    tile : int or None
        Number of queries in a block, ≥ 1; by default half the window.

    Returns
    -------
    array, shape (..., n, c_v)
        As from `attention`; zero for a query without a visible key, and with `correlated` for one
        without a visible key in its window.

    Raises
    ------
    TypeError
        If `sde` is of another form; and as in `attention`.
    ValueError
        If `window` or `tile` is not a positive number, or if `mask` differs from query to query;
        and as in `attention`.

    Notes
    -----
    For correlated keys of `Uniform` weight the sums over a window obey a recursion, so that no
    pairs are formed, and the length of the window hardly matters.

    References
    ----------
    Spec §7.6, §9; §14 for correlated keys.

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
    arguments = Arguments(
        query,
        key,
        value,
        sde,
        weighting=weighting,
        query_times=query_times,
        key_times=key_times,
        mask=mask,
        layout=layout,
        correlated=correlated,
        query_variance=query_variance,
        tolerance=tolerance,
    )
    problem, xp = _prepare_window(arguments, window)
    size = None if tile is None else _positive("tile", tile)
    engine = registered("streaming", xp, STANDARD)
    return problem.write(_windowed_mean(problem, engine, window, size, xp=xp), xp=xp)


def window_error(
    query: Array,
    key: Array,
    value: Array,
    sde: IsotropicSDE,
    *,
    window: int,
    **options: Unpack[WindowOptions],
) -> Array:
    r"""Bound the error of `windowed_attention`, without its rounding error.

    The bound is of the order of E² of the least lag of a key before the window. With `correlated`
    it is the largest 2 max‖v‖ r/(r + Z) of a query, where r = e^{C_i − C_b} is the influence of
    all keys before the window together, and Z = Σ_j a_ij w_ij over those in it, which is computed
    from the pairs; for `Uniform` it is 1 − r. Both bounds hold for every `tile`.

    Takes the arguments of `windowed_attention` but for `tile`, and raises its errors.

    Returns
    -------
    array, shape (...)
        For every batch and head the bound of the norm, over all modes, of the error of any
        query, value; infinite where the window is too short for a bound, which with `correlated`
        is at most 2 max‖v‖. Of the real dtype of `value`.

    References
    ----------
    Spec §9; §14 for correlated keys.
    """
    arguments = collect_arguments(query, key, value, sde, options, WindowOptions)
    problem, xp = _prepare_window(arguments, window)
    engine = registered("streaming", xp, STANDARD)
    operands, static = _operands(problem, rotation_phases(problem, xp=xp), engine, xp=xp)
    if problem.correlated:
        bound = correlated_bound(problem, operands, static, engine, window, xp=xp)
    else:
        bound = error_bound(operands, static, window, xp=xp)
    return xp.reshape(bound, problem.leading)


def _windowed_mean(
    problem: Problem, engine: Engine, window: int, tile: int | None, *, xp: Namespace
) -> Array:
    """Return the mean, packed as the problem is."""
    phases = rotation_phases(problem, xp=xp)
    operands, static = _operands(problem, phases, engine, xp=xp)
    if problem.correlated:
        mean = correlated_mean(problem, operands, static, engine, window, tile, xp=xp)
    else:
        mean = _independent_mean(operands, static, engine, window, tile, xp=xp)
    return rotate_to_queries(mean, problem, phases, engine, xp=xp)


def _independent_mean(
    operands: Operands,
    static: StaticProblem,
    engine: Engine,
    window: int,
    tile: int | None,
    *,
    xp: Namespace,
) -> Array:
    """Return the mean from near keys pair by pair and far keys by their sums, (g, n, 2d_v)."""
    blocks = blocks_for(static.visibility, window, tile)
    if not blocks.number:
        return exact_pairs(operands, static, engine, tile, xp=xp)[0]
    near = near_blocks(blocks, xp=xp).of(operands, static, xp=xp)
    mean, precision = exact_pairs(*near, engine, tile, xp=xp)
    heads = operands.query.shape[0]
    shape = (heads, blocks.number, blocks.size)
    mean, precision = (xp.reshape(x, (*shape, x.shape[-1])) for x in (mean, precision))
    total, carried = far_weights(operands, static, blocks, xp=xp)
    summed = precision + total
    summed = xp.where(abs(summed) > 0.0, summed, 1.0)  # without a visible key
    mean = (precision * mean + carried) / summed
    mean = xp.reshape(mean, (heads, blocks.number * blocks.size, mean.shape[-1]))
    before = before_blocks(static.visibility, blocks)
    if before.visibility.queries:
        earlier = exact_pairs(*before.of(operands, static, xp=xp), engine, tile, xp=xp)
        mean = xp.concat([earlier[0], mean], axis=1)
    return mean


def _operands(
    problem: Problem, phases: Phases, engine: Engine, *, xp: Namespace
) -> tuple[Operands, StaticProblem]:
    """Return the operands of a problem, with the influence of the whole sequence."""
    influence = None
    if problem.correlated:
        influence = streamed_influence(problem.timeline(xp=xp), problem.sde, 1, xp=xp)
    return operands_of(problem, phases, engine.rotate, influence, xp=xp)


def _prepare_window(arguments: Arguments, window: int) -> tuple[Problem, Namespace]:
    """Check the arguments of a window and prepare the problem."""
    _positive("window", window)
    if not isinstance(arguments.sde, IsotropicSDE):
        msg = (
            f"`sde` must be an IsotropicSDE, got {type(arguments.sde).__name__}: the sums of other "
            "forms are as many as the products of their modes. Use attention()."
        )
        raise TypeError(msg)
    mask = arguments.mask
    if mask is not None and is_array(mask) and mask.ndim > 1 and mask.shape[-2] != 1:
        msg = (
            "`mask` must have shape (..., 1, m) with a window, whose sums all queries share, got "
            f"{tuple(mask.shape)}. Pass a mask of keys, or use attention()."
        )
        raise ValueError(msg)
    return prepare(arguments)


def _positive(name: str, x: int) -> int:
    if is_count(x):
        return x
    msg = f"`{name}` must be a positive number of tokens, got {x!r}."
    raise ValueError(msg)
