"""Attention over a part of the keys (spec §9)."""

from __future__ import annotations

from typing import Any, Unpack

from afa_core._array.arrays import Array, Namespace
from afa_core._array.pairs import norm2
from afa_core._checks.arguments import Options, gather
from afa_core._checks.problem import Problem, prepare
from afa_core.decoding.forms import Asked, Sight, Tokens, evaluate, model_of
from afa_core.decoding.phases import Writing, phase, turned_back, value_phase
from afa_core.model.sde import SDE, DiagonalSDE, RadialTangentialSDE


def partial_attention(
    query: Array, key: Array, value: Array, sde: SDE, **options: Unpack[Options]
) -> Any:
    """Return what one set of keys leaves behind for every query, to `merge` with that of others.

    Takes the arguments of `attention` but for `implementation` and `tile`, and raises its errors.
    What a part cannot know of the whole has to be said: `query_times` and `key_times`, and the
    `anchor` of `RadialTangentialSDE`. `causal` is False unless given: a part has no places in the
    sequence, and True takes the queries for the last n of the keys of this part. A `mask` is one
    of this part, (..., n, m). All pairs of the part stand in memory.

    Returns
    -------
    PartialAttention, or RadialTangential of two for `RadialTangentialSDE`
        Of no keys at all (m = 0) it is the state that changes nothing when merged.

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
    arguments = gather(query, key, value, sde, options)
    for name in ("query_times", "key_times"):
        if getattr(arguments, name) is None:
            msg = f"`{name}` must be given, got None: a part of the keys does not tell its times."
            raise ValueError(msg)
    if isinstance(sde, RadialTangentialSDE) and arguments.anchor is None:
        msg = (
            "`anchor` must be given, got None: pass the direction of each query's estimate, "
            "(..., n, c_v), the same to every part."
        )
        raise ValueError(msg)
    problem, xp = prepare(arguments)
    return _state(problem, xp=xp)


def _state(p: Problem, *, xp: Namespace) -> Any:
    dtype = p.packed.query.dtype
    query_times, key_times = p.query_times[..., None], p.key_times[..., None]
    forward, by = (phase(p.sde.frequency, t, dtype, xp=xp) for t in (query_times, key_times))
    value_by = value_phase(p.sde, by, key_times, xp=xp)
    tokens = Tokens(
        turned_back(p.key, by, xp=xp),
        turned_back(p.value, value_by, xp=xp),
        norm2(p.key, xp=xp)[..., None],
        key_times,
    )
    asked = Asked(turned_back(p.query, forward, xp=xp), query_times)
    model = model_of(p.sde, p.weighting, p.inverse_temperature, [*asked, *tokens], xp=xp)
    sums = evaluate(asked, tokens, Sight(p.visible(xp=xp), clean=False), model, xp=xp)
    writing = Writing(
        value_phase(p.sde, forward, query_times, xp=xp),
        p.anchor,
        isinstance(p.sde, DiagonalSDE),
        p.order,
        p.dtype,
    )
    return writing.state(sums, xp=xp)
