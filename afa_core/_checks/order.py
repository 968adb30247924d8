"""The order of times, checked on request only: values are read, so this cannot be traced."""

from __future__ import annotations

from typing import Any, cast

from afa_core._array.arrays import Array, check_array, namespace
from afa_core._array.scan import prefixes, previous
from afa_core._checks.masks import check_boolean
from afa_core._checks.shapes import check_axis
from afa_core._checks.times import check_times


def validate_times(times: Array, mask: Array | None = None) -> None:
    """Raise ValueError unless times are finite and do not decrease along the tokens.

    Causal attention to correlated keys and the estimators of `kalman` need this. They do not check
    it themselves, since that reads values.

    Parameters
    ----------
    times : array, shape (..., n)
        Floating or signed integers; ties are allowed.
    mask : boolean array, shape (..., n), or None
        True where a token is visible; times of the others are not looked at.

    Returns
    -------
    None

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If `mask` has another number of tokens, if a time is not finite, or if one is earlier than
        one before it; names the token.

    References
    ----------
    Spec §14, §11.

    Examples
    --------
    >>> import numpy as np
    >>> validate_times(np.asarray([0.0, 0.5, 0.5, 2.0]))
    >>> validate_times(np.asarray([0.0, 3.0, 2.0]))
    Traceback (most recent call last):
    ...
    ValueError: `times` must not decrease, got 2 after 3 at token 2. Sort the tokens by time.
    >>> validate_times(np.asarray([0.0, 3.0, 2.0]), mask=np.asarray([True, False, True]))
    """
    check_array("times", times)
    arrays = {"times": times} if mask is None else {"times": times, "mask": mask}
    xp = namespace(**arrays)
    check_times("times", times, xp=xp)
    visible = xp.ones_like(times, dtype=xp.bool)
    if mask is not None:
        check_boolean("mask", mask, xp=xp)
        check_axis("mask", mask, -1, times.shape[-1], "the tokens of `times`")
        visible = mask
    if times.shape[-1] == 0:
        return
    real = bool(xp.isdtype(times.dtype, "real floating"))
    lowest = (xp.finfo if real else xp.iinfo)(times.dtype).min
    finite = xp.isfinite(times)
    _require(finite, visible, "must be finite, got {time} at token {token}.", times, times, xp=xp)
    shown = xp.where(visible, times, lowest)
    (latest,) = prefixes(lambda x, y: (xp.maximum(x[0], y[0]),), (shown,), axis=-1, xp=xp)
    before = previous(xp.full_like(latest[..., :1], lowest), latest, axis=-1, xp=xp)
    what = "must not decrease, got {time} after {before} at token {token}. "
    _require(shown >= before, visible, what + "Sort the tokens by time.", times, before, xp=xp)


def _require(
    good: Array, visible: Array, what: str, times: Array, before: Array, *, xp: Any
) -> None:
    """Raise ValueError, with the time and the one before, at the first visible token not good."""
    wrong = xp.logical_and(visible, xp.logical_not(good))
    if not bool(xp.any(wrong)):
        return
    shape = wrong.shape
    first = int(xp.argmax(xp.astype(xp.reshape(wrong, (-1,)), xp.int32)))
    time, earlier = (
        cast(Any, xp.reshape(xp.broadcast_to(x, shape), (-1,))[first]) for x in (times, before)
    )
    words = {"time": f"{float(time):g}", "before": f"{float(earlier):g}"}
    msg = "`times` " + what.format(token=first % shape[-1], **words)
    raise ValueError(msg)
