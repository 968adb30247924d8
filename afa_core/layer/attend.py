"""The call of a layer: project tokens to the complex modes of heads, filter, project back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from afa_core._array.arrays import Array
from afa_core._checks.arguments import Options
from afa_core.attention import attention, attention_weights, estimate
from afa_core.layer.inputs import Inputs, check_tokens, prepare
from afa_core.layer.pairwise import Dropout, check_implementation, pairwise_estimate
from afa_core.layer.parameters import Parameters, positive, sde_of, weighting_of
from afa_core.layer.projections import (
    HeadTokens,
    Projections,
    project_estimates,
    project_tokens,
)
from afa_core.layer.settings import Settings
from afa_core.model.estimates import Estimate
from afa_core.model.sde import SDE


class Attended(NamedTuple):
    """The result of a layer.

    Parameters
    ----------
    output : array, shape (..., n, features)
    precision : array, shape (..., heads, n), or None
        The precision p of `Estimate` if requested: (..., heads, n, modes) in the diagonal form,
        a `RadialTangential` of two arrays (..., heads, n) in the radial–tangential form.
    weights : array, shape (..., heads, n, m), or None
        The weights of `attention_weights` if requested: (..., heads, n, m, modes) in the diagonal
        form, a `RadialTangential` of two arrays (..., heads, n, m) in the radial–tangential form.
    """

    output: Array
    precision: Any = None
    weights: Any = None


def attend(
    parameters: Parameters,
    settings: Settings,
    query: Array,
    key: Array | None = None,
    value: Array | None = None,
    *,
    query_times: Array | None = None,
    key_times: Array | None = None,
    causal: bool = True,
    mask: Array | None = None,
    key_mask: Array | None = None,
    need_precision: bool = False,
    need_weights: bool = False,
    implementation: str = "auto",
    tile: int | None = None,
    ring: Callable[..., Estimate] | None = None,
    logit_bias: Array | None = None,
    dropout: Dropout | None = None,
    projections: Projections | None = None,
) -> Attended:
    """Filter tokens by a layer.

    The layers for PyTorch, Equinox and Flax take the same arguments after `settings`, on arrays
    of their library, and give `dropout` and `projections` themselves. The one for Equinox calls
    the tokens `key_`, since its `key` is a random key.

    Parameters
    ----------
    parameters : mapping of str to array
        Named and shaped as `initial` describes.
    settings : Settings
    query : array, shape (..., n, features)
        Real. The leading axes are batch axes: none, one or several.
    key, value : array, shape (..., m, features), or None
        By default `key` is `query`, and `value` is `key`. Their channels are `key_features` and
        `value_features` of the settings if those are given.
    query_times : array, shape (..., n), or None
    key_times : array, shape (..., m), or None
        Times of the tokens. Without `key`, `key_times` defaults to `query_times`; otherwise the
        defaults are those of `attention`.
    causal : bool
        Whether a query attends only to the keys at or before it, as in `attention`.
    mask : boolean array, shape (n, m), (..., n, m) or (..., heads, n, m), or None
        True attends. One with as many axes as the tokens is a mask for each sequence of the batch.
        Axes may have length 1; n is 1 for correlated keys.
    key_mask : boolean array, shape (..., m), or None
        The key padding mask: True for tokens, False for padding. Results and gradients do not
        depend on the contents of padding, NaN included.
    need_precision : bool
        Whether to return the precision of the estimates.
    need_weights : bool
        Whether to return the attention weights, which takes O(n m) memory.
    implementation : str
        ``"auto"`` or the name of an implementation, as in `attention`.
    tile : int or None
        Number of queries in a tile, as in `attention`.
    ring : callable or None
        ``ring_estimate`` of afa_torch or afa_jax, bound to its devices: the tokens are then the
        share of this device in a sequence that is split over devices. It supports no `mask` and
        no `need_weights`.
    logit_bias : array, shape (n, m), (..., n, m) or (..., heads, n, m), or None
        B_ij, added to the logits L_ij; −∞ hides a pair as `mask` does. The reference alone
        supports it, which takes O(n m) memory.
    dropout : callable or None
        From the shape (..., heads, n, m) to factors of the weights of pairs, 0 or 1/(1 − p). The
        reference alone supports it.
    projections : mapping of str to callable, or None
        ``query``, ``key``, ``value`` and ``output``: functions that take the place of the weights
        and biases in `parameters`, which may then be absent.

    Returns
    -------
    Attended

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.

    References
    ----------
    Spec §4–§6, §10.
    """
    xp = check_tokens(parameters, settings, query=query, key=key, value=value)
    if key is None and key_times is None:
        key_times = query_times
    inputs = Inputs(query, key, value, query_times, key_times, mask, logit_bias)
    inputs = prepare(inputs, key_mask, xp=xp)
    tokens = project_tokens(parameters, settings, *inputs[:3], projections, xp=xp)
    sde = sde_of(parameters, settings, xp=xp)
    options: Options = {
        "weighting": weighting_of(parameters, settings, xp=xp),
        "inverse_temperature": positive(parameters["raw_inverse_temperature"], settings, xp=xp),
        "query_times": inputs.query_times,
        "key_times": inputs.key_times,
        "causal": causal,
        "mask": inputs.mask,
        "anchor": tokens.own_value if settings.form == "radial_tangential" else None,
        "layout": settings.layout,
        "correlated": settings.correlated,
        "tolerance": settings.tolerance,
    }
    projected = tokens.query, tokens.key, tokens.value
    chosen: Any = {"implementation": implementation, "tile": tile}
    precision = weights = None
    check_implementation(implementation, logit_bias=logit_bias, dropout=dropout)
    if ring is not None:
        no_weights = need_weights or None
        _check_ring(mask=mask, need_weights=no_weights, logit_bias=logit_bias, dropout=dropout)
        mean, precision = _ring_estimate(ring, tokens, sde, key_mask, tile, options)
    elif logit_bias is not None or dropout is not None:
        pairs: Any = {"logit_bias": inputs.logit_bias, "dropout": dropout}
        mean, precision, weights = pairwise_estimate(*projected, sde, **pairs, **options)
    elif need_precision or settings.gated:
        mean, precision = estimate(*projected, sde, **chosen, **options)
    else:
        mean = attention(*projected, sde, **chosen, **options)
    if not need_weights:
        weights = None
    elif weights is None:
        weights = attention_weights(*projected, sde, **options)
    output = project_estimates(
        parameters, settings, mean, precision, tokens.own_value, sde, projections, xp=xp
    )
    return Attended(output, precision if need_precision else None, weights)


def _ring_estimate(
    ring: Callable[..., Estimate],
    tokens: HeadTokens,
    sde: SDE,
    key_mask: Array | None,
    tile: int | None,
    options: Options,
) -> Estimate:
    """Return the estimate over the keys of all devices, hidden by `key_mask` instead of `mask`."""
    shared = {name: x for name, x in options.items() if name not in ("mask", "tolerance")}
    keys = None if key_mask is None else key_mask[..., None, :]
    return ring(tokens.query, tokens.key, tokens.value, sde, key_mask=keys, tile=tile, **shared)


def _check_ring(**unsupported: Any) -> None:
    for name, x in unsupported.items():
        if x is not None:
            msg = (
                f"`{name}` is not supported on a ring, whose devices never hold all pairs. "
                "Leave it out; `key_mask` hides keys."
            )
            raise ValueError(msg)
