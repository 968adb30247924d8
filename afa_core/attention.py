"""The public operation: check, choose an implementation, run."""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

from afa_core._array.arrays import Array, Namespace, Parameter
from afa_core._array.pairs import Layout
from afa_core._checks.arguments import Arguments, Options, collect_arguments, leading_axes
from afa_core._checks.evaluation import checked_tile
from afa_core._checks.problem import Problem, prepare
from afa_core.implementations import Explanation, RunOptions, choose, engine_of, explain_choice
from afa_core.model.estimates import Estimate
from afa_core.model.sde import SDE, DiagonalSDE, RadialTangential
from afa_core.model.weighting import StudentT, Weighting
from afa_core.reference import materialise
from afa_core.streaming.attention import count_pairs


def attention(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    *,
    weighting: Weighting = StudentT(4.0),
    inverse_temperature: Parameter = 1.0,
    query_times: Array | None = None,
    key_times: Array | None = None,
    causal: bool = True,
    mask: Array | None = None,
    anchor: Array | None = None,
    layout: Layout = "interleaved",
    correlated: bool = False,
    query_variance: Array | RadialTangential | None = None,
    tolerance: float | None = None,
    implementation: str = "auto",
    tile: int | None = None,
) -> Array:
    r"""Estimate the state at each query from keys carried to its time: Adaptive Filter Attention.

    x̂_i = (Σ_j w_ij Σ_ij⁻¹)⁻¹ Σ_j w_ij Σ_ij⁻¹ e^{ΛΔ_ij} v_j, where w_ij is a robust weight of
    the residual q_i − e^{ΛΔ_ij} k_j and Σ_ij its covariance at lag Δ_ij = t_i − t_j. The type
    of `sde` chooses the form.

    Parameters
    ----------
    query : array, shape (..., n, c)
        Complex modes (c = d), or real pairs (c = 2d) in the given `layout`.
    key : array, shape (..., m, c)
    value : array, shape (..., m, c_v)
        All arrays come from one library; leading axes (batch, heads) broadcast.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The dynamics and the noise. Values are not checked here: `sde.validate()` does that.
    weighting : StudentT, Gaussian, Rational or Uniform
        The robust weight of a residual.
    inverse_temperature : array, shape (...), or float
        β ≥ 0, multiplies the whole logit.
    query_times, key_times : array, shape (..., n) and (..., m), or None
        Times of the tokens, floating or signed integers; by default keys come at 0..m−1 and
        queries are the last n of the m tokens. Only differences matter: they are formed in
        the dtype given, so a large common offset costs nothing.
    causal : bool
        Whether a query attends only to the keys at or before it in the sequence, the queries
        being the last n of the m tokens; order is by index, so times should not decrease. If
        False every query attends to every key, and a lag enters the decay and the noise as |Δ|.
    mask : boolean array, broadcastable to (..., n, m), or None
        True where a query may attend to a key; composes with `causal`.
    anchor : array, shape (..., n, c_v), or None
        The direction of each query's estimate, for `RadialTangentialSDE` alone; by default
        the token's own value, when n = m.
    layout : {"interleaved", "halves"}
        Real pairs as (re, im), (re, im), … or as all real parts, then all imaginary parts.
    correlated : bool
        Whether keys are weighted for the errors that they have in common, as the Kalman filter
        weights them: log a_ij takes the place of −log Σ_ij, where a_ij is the influence of key j
        on the exact estimate. Times must then not decrease along visible keys, nor a query be
        earlier than the last key that it sees; if `causal` is False, keys are sorted by time. A
        `mask` must be one of keys, (..., 1, m).
    query_variance : array, shape (..., n), or None
        γ² of each query, in place of that of `sde`; (..., n, 1) or (..., n, d) for `DiagonalSDE`,
        a `RadialTangential` of two for `RadialTangentialSDE`.
    tolerance : float or None
        τ ≥ 0, for `correlated` keys: blocks of keys whose weights cannot exceed τ times the sum of
        a row's others are left out, far ones first, which changes a result by at most
        2τ max‖v‖ (2√2 τ for `RadialTangentialSDE`). None stands for the rounding of the dtype, 0
        for every key. `visited_blocks` tells what it saves.
    implementation : str
        ``"auto"`` or the name of an implementation; see `explain`.
    tile : int or None
        Number of queries in a block, ≥ 1, for implementations that work in blocks; by default one
        that suits the library. Results do not depend on it beyond rounding.

    Returns
    -------
    array, shape (..., n, c_v)
        Of the kind, layout and dtype of `value`. It is computed in float64 for float64 or
        complex128 inputs and in float32 otherwise; angles ωt in double precision where the
        device has it. The result is zero for a query that attends to no key. Channels of queries
        and keys whose squares might overflow are cut off (spec §8.5).

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.

    References
    ----------
    Spec §3, equation (3.1); §4–§6 for the forms; §8 for the conventions of this interface; §14 for
    correlated keys.
    P. Racioppo, "Attention as an Adaptive Filter", arXiv:2509.04154.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise
    >>> sde = IsotropicSDE(0.1, np.asarray([0.5]), Noise(0.2, 1.0, 1.0))
    >>> x = np.asarray([[1.0, 0.0], [0.9, 0.5], [0.5, 0.8]])
    >>> attention(x, x, x, sde).shape
    (3, 2)
    """
    arguments = Arguments(
        query,
        key,
        value,
        sde,
        weighting=weighting,
        inverse_temperature=inverse_temperature,
        query_times=query_times,
        key_times=key_times,
        causal=causal,
        mask=mask,
        anchor=anchor,
        layout=layout,
        correlated=correlated,
        query_variance=query_variance,
        tolerance=tolerance,
    )
    run_options = RunOptions(return_precision=False, tile=checked_tile(tile))
    problem, mean, _, xp = _run(arguments, implementation, run_options)
    return problem.write(mean, xp=xp)


def estimate(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    *,
    implementation: str = "auto",
    tile: int | None = None,
    **options: Unpack[Options],
) -> Estimate:
    """Return the estimate of `attention` together with its precision.

    Takes the arguments of `attention`, and raises its errors.

    Returns
    -------
    Estimate
        `mean`, which is what `attention` returns, and `precision`, which is zero for a query
        that attends to no key.

    References
    ----------
    Spec §10.
    """
    arguments = collect_arguments(query, key, value, sde, options)
    run_options = RunOptions(return_precision=True, tile=checked_tile(tile))
    problem, mean, precision, xp = _run(arguments, implementation, run_options)
    tokens = mean.shape[:-1]
    if isinstance(precision, RadialTangential):
        precision = RadialTangential(*(xp.broadcast_to(each, tokens) for each in precision))
    else:
        modes = (problem.modes,) if isinstance(sde, DiagonalSDE) else ()
        precision = xp.broadcast_to(precision, tokens + modes)
    return Estimate(problem.write(mean, xp=xp), precision)


def _run(
    arguments: Arguments, implementation: str, run_options: RunOptions
) -> tuple[Problem, Array, Array | RadialTangential, Namespace]:
    """Check the arguments, choose an implementation and evaluate it."""
    problem, xp = prepare(arguments)
    return problem, *choose(implementation, problem, xp).run(problem, run_options, xp), xp


ONLY_OF_VALUES = "value", "anchor", "sde.value_frequency"
"""Arguments that weights do not depend on, so that they do not have their leading axes."""


def attention_weights(
    query: Array, key: Array, value: Array, sde: SDE, **options: Unpack[Options]
) -> Any:
    """Return the normalised attention weights A of `attention`, for inspection.

    Takes the arguments of `attention` but for `implementation` and `tile`, and raises its errors.

    Returns
    -------
    array, shape (..., n, m), or (..., n, m, d) per mode for `DiagonalSDE`
        Rows sum to 1 over the keys, or to 0 for a query that attends to none; of correlated keys
        on both sides of a query to another number, since the prior's mean has a weight too. The
        decay of the values is not part of them. A `RadialTangential` of two such arrays for
        `RadialTangentialSDE`.

    References
    ----------
    Spec §4, equation (4.1); §5; §6.
    """
    arguments = collect_arguments(query, key, value, sde, options)
    problem, xp = prepare(arguments)
    weights = materialise(problem, xp=xp).weights
    _, shapes = leading_axes(arguments)
    own = max(len(shape) for name, shape in shapes.items() if name not in ONLY_OF_VALUES)
    given = (
        *(0,) * (len(problem.leading) - own),
        ...,
        slice(key.shape[-2]),  # without the hidden key that stands for no key
        *(slice(None),) * isinstance(sde, DiagonalSDE),
    )
    if isinstance(weights, RadialTangential):
        return RadialTangential(*(each[given] for each in weights))
    return weights[given]


class VisitedBlocks(NamedTuple):
    """How many pairs of a query and a key are in the blocks that `attention` visits.

    Parameters
    ----------
    visited : array, shape (...)
        Of each head, floating.
    total : int
        Of a head that visits every block that is not hidden as a whole by `causal`.
    """

    visited: Array
    total: int


def visited_blocks(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    *,
    tile: int | None = None,
    **options: Unpack[Options],
) -> VisitedBlocks:
    """Return how much of the work of attention over tiles early exit leaves.

    Takes the arguments of `attention` but for `implementation`, and raises its errors. All blocks
    are visited if keys are not correlated, if `tolerance` is 0, and where values cannot be read;
    see `explain`.

    References
    ----------
    Spec §14.
    """
    problem, xp = prepare(collect_arguments(query, key, value, sde, options))
    engine = engine_of(choose("auto", problem, xp).name, xp) or engine_of("streaming", xp)
    assert engine is not None
    return VisitedBlocks(*count_pairs(problem, engine, checked_tile(tile), xp=xp))


def explain(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    *,
    implementation: str = "auto",
    **options: Unpack[Options],
) -> Explanation:
    """Say which implementation `attention` would run for these arguments, and why no other.

    Takes the arguments of `attention` but for `tile`, and raises its errors.

    References
    ----------
    Spec §9.
    """
    problem, xp = prepare(collect_arguments(query, key, value, sde, options))
    return explain_choice(implementation, problem, xp)
