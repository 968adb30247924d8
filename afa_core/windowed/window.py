"""Attention with a window of exact pairs, and the bound of its error."""

from __future__ import annotations

from typing import TypedDict, Unpack

from afa_core._array.arrays import Array, Namespace, is_count
from afa_core._array.pairs import Layout, rotate_packed
from afa_core._checks.arguments import Arguments, collect_arguments
from afa_core._checks.problem import Problem, prepare
from afa_core._dispatch import registered
from afa_core.model.sde import IsotropicSDE
from afa_core.model.weighting import StudentT, Weighting
from afa_core.streaming.attention import fit_sizes, rotate_to_queries
from afa_core.streaming.engine import STANDARD, Engine
from afa_core.streaming.operands import Operands, StaticProblem, operands_of
from afa_core.streaming.phases import rotation_phases
from afa_core.windowed.blocks import before_blocks, blocks_for, near_keys_of_blocks
from afa_core.windowed.error_bound import error_bound
from afa_core.windowed.far_keys import far_weights


class WindowOptions(TypedDict, total=False):
    """The keyword arguments of `windowed_attention`, which describes them."""

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
    r"""Approximate causal `attention` by a window of exact pairs and sums over all earlier keys.

    Keys before the window still count: each has nearly the weight of a key that has decayed to
    zero. The difference is expanded to first order in E(Δ), which takes five sums over these keys,
    so that n queries take O(n · window) time. `window_error` bounds the error, which decreases as
    E² of the window. The window should be several 1/μ long.

    Parameters
    ----------
    query, key, value, weighting, query_times, key_times, layout
        As in `attention`, with `causal` and without mask and temperature. Times must not decrease.
    sde : IsotropicSDE
        Its decay must be positive; with zero decay the results are NaN.
    window : int
        Least number of latest keys, ≥ 1, whose pairs are exact for a query. The queries of a
        block share their exact keys, so that most have more.
    tile : int or None
        Number of queries in a block, ≥ 1; by default half the window.

    Returns
    -------
    array, shape (..., n, c_v)
        As from `attention`.

    Raises
    ------
    TypeError
        If `sde` is of another form; and as in `attention`.
    ValueError
        If `window` or `tile` is not a positive number; and as in `attention`.

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
    arguments = Arguments(
        query,
        key,
        value,
        sde,
        weighting=weighting,
        query_times=query_times,
        key_times=key_times,
        layout=layout,
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

    The bound is of the order of E² of the least lag of a key before the window. Takes the
    arguments of `windowed_attention` but for `tile`, and raises its errors.

    Returns
    -------
    array, shape (...)
        For every batch and head the bound of the norm, over all modes, of the error of any
        query; infinite where the window is too short for a bound. Of the real dtype of `value`.

    References
    ----------
    Spec §9.
    """
    arguments = collect_arguments(query, key, value, sde, options, WindowOptions)
    problem, xp = _prepare_window(arguments, window)
    operands, static = operands_of(problem, rotation_phases(problem, xp=xp), rotate_packed, xp=xp)
    return xp.reshape(error_bound(operands, static, window, xp=xp), problem.leading)


def _windowed_mean(
    problem: Problem, engine: Engine, window: int, tile: int | None, *, xp: Namespace
) -> Array:
    """Return the mean, packed as the problem is."""
    phases = rotation_phases(problem, xp=xp)
    operands, static = operands_of(problem, phases, engine.rotate, xp=xp)

    def exact(operands: Operands, static: StaticProblem) -> tuple[Array, Array]:
        sizes = fit_sizes(engine.sizes, static, tile)
        return engine.run(operands, static, sizes, return_precision=True, xp=xp)

    blocks = blocks_for(static.visibility, window, tile)
    if not blocks.number:
        mean = exact(operands, static)[0]
        return rotate_to_queries(mean, problem, phases, engine, xp=xp)
    mean, precision = exact(*near_keys_of_blocks(operands, static, blocks, xp=xp))
    heads = operands.query.shape[0]
    shape = (heads, blocks.number, blocks.size)
    mean, precision = (xp.reshape(x, (*shape, x.shape[-1])) for x in (mean, precision))
    total, carried = far_weights(operands, static, blocks, xp=xp)
    mean = (precision * mean + carried) / (precision + total)
    mean = xp.reshape(mean, (heads, -1, mean.shape[-1]))
    earlier = before_blocks(operands, static, blocks)
    if earlier[1].visibility.queries:
        mean = xp.concat([exact(*earlier)[0], mean], axis=1)
    return rotate_to_queries(mean, problem, phases, engine, xp=xp)


def _prepare_window(arguments: Arguments, window: int) -> tuple[Problem, Namespace]:
    """Check the arguments of a window and prepare the problem."""
    _positive("window", window)
    if not isinstance(arguments.sde, IsotropicSDE):
        msg = (
            f"`sde` must be an IsotropicSDE, got {type(arguments.sde).__name__}: the sums of other "
            "forms are as many as the products of their modes. Use attention()."
        )
        raise TypeError(msg)
    return prepare(arguments)


def _positive(name: str, x: int) -> int:
    if is_count(x):
        return x
    msg = f"`{name}` must be a positive number of tokens, got {x!r}."
    raise ValueError(msg)
