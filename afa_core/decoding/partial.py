"""Attention over a part of the keys (spec §9)."""

from __future__ import annotations

from typing import Any, Unpack

from afa_core._array.arrays import (
    Array,
    Namespace,
    broadcast_shape,
    check_devices,
    namespace,
)
from afa_core._array.pairs import norm2
from afa_core._checks.arguments import Arguments, ProblemOptions, check, check_options
from afa_core._checks.problem import Problem, prepare
from afa_core.decoding.forms import (
    KeyVisibility,
    Queries,
    Tokens,
    evaluate,
    model_spec,
)
from afa_core.decoding.key_influence import KeyInfluence
from afa_core.decoding.levels import filter_of, on_both_sides, stored, with_prior
from afa_core.decoding.merging import Partial
from afa_core.decoding.output import OutputSpec
from afa_core.decoding.phases import token_phases, unrotate, value_phases
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    RadialTangentialSDE,
    check_instance,
)
from afa_core.streaming.operands import components_of

OF_SEQUENCE = "query_times", "key_times", "causal", "mask"
"""Options that `key_influence` takes for the whole sequence."""


class PartialOptions(ProblemOptions, total=False):
    """The keyword arguments of `partial_attention`, which describes them."""

    influence: KeyInfluence | None


def partial_attention(
    query: Array, key: Array, value: Array, sde: SDE, **options: Unpack[PartialOptions]
) -> Partial:
    """Return the state of attention over one set of keys, to `merge` with the states of others.

    Takes the arguments of `attention` but for `tolerance`, `implementation` and `tile`, since all
    pairs are evaluated, and raises its errors.
    Arguments that do not follow from a part of the keys are required: `query_times` and
    `key_times`, and the `anchor` of `RadialTangentialSDE`. `causal` is False unless given, because
    the place of a part in the sequence is not known; True treats the queries as the last n of the
    keys of this part. A `mask` is one for this part, (..., n, m). All pairs of the part are
    materialised in memory.

    With `correlated` the gains of the keys belong to the whole sequence. `key_influence` computes
    them, and `influence` is the part of its result that these queries and keys have. It contains
    their times, which keys are visible and whether the sequence is causal, in the place of
    `query_times`, `key_times`, `mask` and `causal`. Parts of a causal sequence may be any of its
    keys: those after a query are hidden from it.

    Returns
    -------
    PartialAttention, or RadialTangential of two for `RadialTangentialSDE`
        For m = 0 it is the neutral element of `merge`.

    References
    ----------
    Spec §9; §14 for correlated keys.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise, finish, merge
    >>> sde = IsotropicSDE(0.1, np.asarray([0.5]), Noise(0.2, 1.0, 1.0))
    >>> x, times = np.asarray([[1.0, 0.0], [0.9, 0.5], [0.5, 0.8]]), np.arange(3.0)
    >>> query = {"query": x[2:], "query_times": times[2:], "sde": sde}
    >>> parts = [
    ...     partial_attention(key=x[part], value=x[part], key_times=times[part], **query)
    ...     for part in (slice(0, 2), slice(2, 3))
    ... ]
    >>> finish(merge(*parts)).mean.shape
    (1, 2)
    """
    check_options(options, PartialOptions)
    rest: dict[str, Any] = {"causal": False, **options}
    influence = rest.pop("influence", None)
    arguments = Arguments(query, key, value, sde, **rest)
    if influence is None:
        _check_times(arguments)
    if isinstance(sde, RadialTangentialSDE) and arguments.anchor is None:
        msg = (
            "`anchor` must be given, got None: pass the direction of each query's estimate, "
            "(..., n, c_v), the same to every part."
        )
        raise ValueError(msg)
    if influence is not None:
        _check_given(influence, dict(options))
        arguments = _with_influence(arguments, influence)
    problem, xp = prepare(arguments)
    return _partial_state(problem, influence, xp=xp)


def _check_times(arguments: Arguments) -> None:
    """Check that independent keys have times, and that keys without influence are independent."""
    if arguments.correlated:
        msg = (
            "`influence` must be given, got None: gains belong to the whole "
            "sequence. Pass the part of `key_influence` that these queries and keys have."
        )
        raise ValueError(msg)
    for name in ("query_times", "key_times"):
        if getattr(arguments, name) is None:
            msg = f"`{name}` must be given, got None: a part of the keys has no default times."
            raise ValueError(msg)


def _check_given(influence: object, options: dict[str, Any]) -> None:
    """Check that influence comes with `correlated`, and without what it contains."""
    check_instance("influence", influence, KeyInfluence)
    if options.get("correlated") is not True:
        msg = (
            "`correlated` must be True with `influence`, got "
            f"{options.get('correlated', False)!r}. Pass both or neither."
        )
        raise ValueError(msg)
    for name in OF_SEQUENCE:
        if options.get(name) is not None:
            msg = (
                f"`{name}` must be left out with `influence`, which contains it, got both. "
                "Pass it to `key_influence`, for the whole sequence."
            )
            raise ValueError(msg)


def _with_influence(arguments: Arguments, influence: KeyInfluence) -> Arguments:
    """Check that influence is that of the tokens; return the arguments with what it contains."""
    arguments = arguments._replace(correlated=False)  # all that a mask may then hide
    xp, leading = check(arguments)
    arrays = {"key": arguments.key, "influence.key_level": influence.key_level}
    check_devices(namespace(**arrays), **arrays)
    tokens = arguments.query.shape[-2], arguments.key.shape[-2]
    found = influence.query_times.shape[-1], influence.key_times.shape[-1]
    if tokens != found:
        msg = (
            f"`influence` must be of {tokens[0]} queries and {tokens[1]} keys like `query` and "
            f"`key`, got {found[0]} and {found[1]}. Take the `part` of these tokens."
        )
        raise ValueError(msg)
    paired = xp.isdtype(arguments.query.dtype, "real floating")
    modes = arguments.query.shape[-1] // (2 if paired else 1)
    filters, own = components_of(type(arguments.sde), modes), influence.variance.shape[-1]
    if own != filters and not (own == 1 and isinstance(arguments.sde, DiagonalSDE)):
        msg = (
            f"`influence` must be that of `sde`, with {filters} filters, got {own}. "
            "Pass the same model to `key_influence`."
        )
        raise ValueError(msg)
    shapes = {"query, key and value": leading, "influence": influence.key_level.shape[:-3]}
    broadcast_shape(shapes)
    return arguments._replace(
        query_times=influence.query_times,
        key_times=influence.key_times,
        mask=influence.visible_pairs(xp=xp),
    )


def _partial_state(problem: Problem, influence: KeyInfluence | None, *, xp: Namespace) -> Partial:
    sde, dtype = problem.sde, problem.packed.query.dtype
    query_times, key_times = problem.query_times[..., None], problem.key_times[..., None]
    query_phases, key_phases = (
        token_phases(sde.frequency, times, dtype, xp=xp) for times in (query_times, key_times)
    )
    key = problem.key(xp=xp)
    tokens = Tokens(
        unrotate(key, key_phases, xp=xp),
        unrotate(problem.value, value_phases(sde, key_phases, key_times, xp=xp), xp=xp),
        norm2(key, xp=xp)[..., None],
        key_times,
    )
    query = unrotate(problem.query(xp=xp), query_phases, xp=xp)
    queries = Queries(query, query_times, problem.query_variance)
    spec = model_spec(
        sde, problem.weighting, problem.inverse_temperature, [*queries[:2], *tokens[:4]], xp=xp
    )
    levels = None
    if influence is not None:
        if not influence.key_times.shape[-1]:
            influence = influence.with_hidden_key(xp=xp)
        influence = influence.with_axes(len(problem.leading))
        levels = influence.per_component(components_of(type(sde), problem.modes), xp=xp)
        past = None if levels.missing is None else influence.past()
        tokens = tokens._replace(influence=stored(levels.key_level, xp=xp))
        queries = queries._replace(filter=filter_of(levels, past, xp=xp))
    visibility = KeyVisibility(problem.visible(xp=xp), finite=False)
    sums = evaluate(queries, tokens, visibility, spec, xp=xp)
    output = OutputSpec(
        value_phases(sde, query_phases, query_times, xp=xp),
        problem.anchor,
        isinstance(sde, DiagonalSDE),
        problem.order,
        problem.dtype,
    )
    if levels is None or levels.missing is None:
        return output.partial_state(sums, xp=xp)
    both = on_both_sides(sums, levels, problem, xp=xp)
    return with_prior(*(output.partial_state(each, xp=xp) for each in both))
