"""Attention over a part of the keys (spec §9)."""

from __future__ import annotations

from typing import Unpack

from afa_core._array.arrays import Array, Namespace
from afa_core._array.pairs import norm2
from afa_core._checks.arguments import PartialOptions, collect_arguments
from afa_core._checks.problem import Problem, prepare
from afa_core.decoding.forms import KeyVisibility, Queries, Tokens, evaluate, model_spec
from afa_core.decoding.merging import Partial
from afa_core.decoding.output import OutputSpec
from afa_core.decoding.phases import token_phases, unrotate, value_phases
from afa_core.model.sde import SDE, DiagonalSDE, RadialTangentialSDE


def partial_attention(
    query: Array, key: Array, value: Array, sde: SDE, **options: Unpack[PartialOptions]
) -> Partial:
    """Return the state of attention over one set of keys, to `merge` with the states of others.

    Takes the arguments of `attention` but for `correlated`, `query_variance`, `implementation` and
    `tile`, and raises its errors. Arguments that do not follow from a part of the keys are
    required: `query_times` and `key_times`, and the `anchor` of `RadialTangentialSDE`. `causal` is
    False unless given, because
    the place of a part in the sequence is not known; True treats the queries as the last n of the
    keys of this part. A `mask` is one for this part, (..., n, m). All pairs of the part are
    materialised in memory.

    Returns
    -------
    PartialAttention, or RadialTangential of two for `RadialTangentialSDE`
        For m = 0 it is the neutral element of `merge`.

    References
    ----------
    Spec §9.

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
    options.setdefault("causal", False)
    arguments = collect_arguments(query, key, value, sde, options, PartialOptions)
    for name in ("query_times", "key_times"):
        if getattr(arguments, name) is None:
            msg = f"`{name}` must be given, got None: a part of the keys has no default times."
            raise ValueError(msg)
    if isinstance(sde, RadialTangentialSDE) and arguments.anchor is None:
        msg = (
            "`anchor` must be given, got None: pass the direction of each query's estimate, "
            "(..., n, c_v), the same to every part."
        )
        raise ValueError(msg)
    problem, xp = prepare(arguments)
    return _partial_state(problem, xp=xp)


def _partial_state(problem: Problem, *, xp: Namespace) -> Partial:
    sde, dtype = problem.sde, problem.packed.query.dtype
    query_times, key_times = problem.query_times[..., None], problem.key_times[..., None]
    query_phases, key_phases = (
        token_phases(sde.frequency, times, dtype, xp=xp) for times in (query_times, key_times)
    )
    tokens = Tokens(
        unrotate(problem.key, key_phases, xp=xp),
        unrotate(problem.value, value_phases(sde, key_phases, key_times, xp=xp), xp=xp),
        norm2(problem.key, xp=xp)[..., None],
        key_times,
    )
    queries = Queries(unrotate(problem.query, query_phases, xp=xp), query_times)
    spec = model_spec(
        sde, problem.weighting, problem.inverse_temperature, [*queries[:2], *tokens[:4]], xp=xp
    )
    visibility = KeyVisibility(problem.visible(xp=xp), finite=False)
    sums = evaluate(queries, tokens, visibility, spec, xp=xp)
    output = OutputSpec(
        value_phases(sde, query_phases, query_times, xp=xp),
        problem.anchor,
        isinstance(sde, DiagonalSDE),
        problem.order,
        problem.dtype,
    )
    return output.partial_state(sums, xp=xp)
