"""Decoding by a layer: new tokens against a cache (spec §9)."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.step import estimate_step
from afa_core.layer.attend import Attended
from afa_core.layer.inputs import check_tokens, with_heads
from afa_core.layer.parameters import Parameters, positive, sde_of, weighting_of
from afa_core.layer.projections import Projections, project_estimates, project_tokens
from afa_core.layer.settings import Settings


def empty_cache(
    parameters: Parameters,
    settings: Settings,
    tokens: Array,
    *,
    capacity: int | None = None,
    projections: Projections | None = None,
    **examples: Any,
) -> DecodeCache:
    """Return an empty cache for tokens like those given.

    Parameters
    ----------
    parameters : mapping of str to array
    settings : Settings
    tokens : array, shape (..., any number, features)
        Only the batch axes, the dtype, the library and the device matter.
    capacity : int or None
        The maximum number of tokens, as in `DecodeCache.of`; None lets the cache grow.
    projections : mapping of str to callable, or None
        As in `attend`.
    **examples
        `times` and `mask` as in `DecodeCache.empty`, shape (..., any number), if the steps will
        be given them.
    """
    xp = check_tokens(parameters, settings, tokens=tokens)
    projected = project_tokens(parameters, settings, tokens, None, None, projections, xp=xp)
    examples = {name: with_heads(name, x, tokens, "tokens") for name, x in examples.items()}
    return DecodeCache.empty(
        projected.key,
        projected.value,
        sde_of(parameters, settings, xp=xp),
        capacity=capacity,
        layout=settings.layout,
        correlated=settings.correlated,
        **examples,
    )


def step(
    parameters: Parameters,
    settings: Settings,
    tokens: Array,
    cache: DecodeCache,
    *,
    time: Array | None = None,
    mask: Array | None = None,
    need_precision: bool = False,
    projections: Projections | None = None,
) -> tuple[Attended, DecodeCache]:
    """Filter new tokens against a cache, and append them to it.

    Parameters
    ----------
    parameters : mapping of str to array
    settings : Settings
    tokens : array, shape (..., c, features)
        One token or several, so that a prompt can be passed in pieces.
    cache : DecodeCache
        From `empty_cache`, or from the previous step.
    time : array, shape (..., c), or None
        Times of the tokens; by default consecutive integers after the latest token.
    mask : boolean array, shape (..., c), or None
        False hides a token from all tokens that follow.
    need_precision : bool
        Whether to return the precision of the estimates.
    projections : mapping of str to callable, or None
        As in `attend`.

    Returns
    -------
    attended : Attended
        The result of `attend` for the last c tokens of the sequence.
    cache : DecodeCache
        The cache with the new tokens.

    Raises
    ------
    TypeError, ValueError
        As `decode_step` does.

    References
    ----------
    Spec §9.
    """
    xp = check_tokens(parameters, settings, tokens=tokens)
    sde = sde_of(parameters, settings, xp=xp)
    query, key, value, own_value = project_tokens(
        parameters, settings, tokens, None, None, projections, xp=xp
    )
    (mean, precision), cache = estimate_step(
        query,
        key,
        value,
        sde,
        cache,
        weighting=weighting_of(parameters, settings, xp=xp),
        inverse_temperature=positive(parameters["raw_inverse_temperature"], settings, xp=xp),
        time=with_heads("time", time, tokens, "tokens"),
        mask=with_heads("mask", mask, tokens, "tokens"),
        layout=settings.layout,
        correlated=settings.correlated,
        tolerance=settings.tolerance,
    )
    output = project_estimates(
        parameters, settings, mean, precision, own_value, sde, projections, xp=xp
    )
    return Attended(output, precision if need_precision else None), cache
