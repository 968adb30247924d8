"""The influence of correlated keys of a whole sequence, for attention to its parts (spec §14)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    broadcast_shape,
    check_array,
    check_devices,
    device_of,
    namespace,
    shape_of,
    wide_dtype,
    with_rank,
)
from afa_core._array.masks import Visibility
from afa_core._checks.masks import check_boolean
from afa_core._checks.parameters import aligned, model_in
from afa_core._checks.shapes import check_axis, parameter_shapes
from afa_core._checks.times import check_times, relative_times
from afa_core.model.influence import Timeline
from afa_core.model.sde import SDE, DiagonalSDE, check_sde, parameters_of
from afa_core.streaming.influence import StreamedInfluence, streamed_influence
from afa_core.streaming.operands import components_of

TRAILING = {"query_level": 3, "key_level": 3, "variance": 2, "missing": 2}
"""Axes of an influence beside the leading ones, where there is another than that of tokens."""


class KeyInfluence(NamedTuple):
    """The influence of the keys of a sequence on its queries, for `partial_attention`.

    Make it with `key_influence`, once for the whole sequence, and take `part` of it for each set of
    queries and keys. All arrays have an axis of queries or one of keys. There are t terms of
    logarithms and s filters: one for each mode of `DiagonalSDE`, a radial and a tangential one for
    `RadialTangentialSDE`, and otherwise a single one. Leading axes are equally many, each as long
    as that of the sequence or 1.

    Parameters
    ----------
    query_times, key_times : array, shape (..., n) and (..., m)
        Times since the latest visible key of the sequence, in the widest dtype.
    query_place, key_place : array, shape (..., n) and (..., m)
        A key is in the past of a query where its place is not greater: places in the sequence if
        causal, times otherwise.
    visible : boolean array, shape (..., m), or None
        Which keys are visible, None if all are.
    query_level, key_level : array, shape (..., n, t, s) and (..., m, t, s)
        log a_ij = Σ query_level_i − key_level_j over the terms of a direction, keys of the past or
        of the future, in the widest dtype.
    variance : array, shape (..., n, s)
        P_i of the exact estimate.
    missing : array, shape (..., n, s), or None
        1 − Σ_j a_ij over the keys of the sequence; None if causal, where it is zero.
    """

    query_times: Array
    key_times: Array
    query_place: Array
    key_place: Array
    visible: Array | None
    query_level: Array
    key_level: Array
    variance: Array
    missing: Array | None

    def part(self, keys: slice, queries: slice = slice(None)) -> KeyInfluence:
        """Return the influence of some of the keys on all or some of the queries."""
        return KeyInfluence(
            self.query_times[..., queries],
            self.key_times[..., keys],
            self.query_place[..., queries],
            self.key_place[..., keys],
            None if self.visible is None else self.visible[..., keys],
            self.query_level[..., queries, :, :],
            self.key_level[..., keys, :, :],
            self.variance[..., queries, :],
            None if self.missing is None else self.missing[..., queries, :],
        )

    def past(self) -> Array:
        """Return which keys are in the past of which queries, (..., n, m)."""
        past: Array = self.key_place[..., None, :] <= self.query_place[..., :, None]
        return past

    def visible_pairs(self, *, xp: Namespace) -> Array | None:
        """Return which keys are visible to which queries, (..., n or 1, m), None if all are."""
        visible = None if self.visible is None else self.visible[..., None, :]
        if self.missing is not None:
            return visible
        return self.past() if visible is None else xp.logical_and(self.past(), visible)

    def per_component(self, components: int, *, xp: Namespace) -> StreamedInfluence:
        """Return levels, variances and what is missing of 1 for each component of a form."""

        def broadcast(x: Array) -> Array:
            return xp.broadcast_to(x, (*x.shape[:-1], components))

        return StreamedInfluence(
            broadcast(self.query_level),
            broadcast(self.key_level),
            broadcast(self.variance),
            None if self.missing is None else broadcast(self.missing),
        )

    def with_axes(self, leading: int) -> KeyInfluence:
        """Return arrays with so many leading axes, of length 1 where they lack them."""
        given = {name: x for name, x in self._asdict().items() if x is not None}
        extended = {n: with_rank(x, leading + TRAILING.get(n, 1)) for n, x in given.items()}
        return self._replace(**extended)

    def with_hidden_key(self, *, xp: Namespace) -> KeyInfluence:
        """Return the influence of no keys as that of a single one, which is hidden."""

        def one(x: Array, axis: int) -> Array:
            shape = (*x.shape[:axis], 1, *x.shape[x.ndim + axis + 1 :])
            return xp.zeros(shape, dtype=x.dtype, device=device_of(x))

        return self._replace(
            key_times=one(self.key_times, -1),
            key_place=one(self.key_place, -1),
            key_level=one(self.key_level, -3),
        )


def key_influence(
    query_times: Array,
    key_times: Array,
    sde: SDE,
    *,
    key_mask: Array | None = None,
    causal: bool = True,
) -> KeyInfluence:
    """Return the influence of correlated keys on queries, (14.1) or (14.3), for their parts.

    The filter is run once over the times of the whole sequence, and each part is attended to with
    the gains that its keys have there. A filter that began anew at a part would be another one.

    Parameters
    ----------
    query_times, key_times : array, shape (..., n) and (..., m)
        As in `attention`, floating or signed integers, of at least one key.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        Values are not checked here: `sde.validate()` does that.
    key_mask : boolean array, shape (..., m), or None
        False hides a key from all queries. Its time does not affect any result, even if it is NaN.
    causal : bool
        As in `attention`: whether a query sees the keys at or before it in the sequence, the
        queries being the last n of the m tokens, or all keys on both sides of it.

    Returns
    -------
    KeyInfluence
        A NamedTuple of arrays, which parameters and times may be differentiated through. It takes
        O(n + m) memory.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes or devices do not fit each other, or there is no key.

    References
    ----------
    Spec §14, equations (14.1) and (14.3); §9 for parts.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise, finish, merge, partial_attention
    >>> sde = IsotropicSDE(0.1, np.asarray([0.5]), Noise(0.2, 1.0, 1.0))
    >>> x, times = np.asarray([[1.0, 0.0], [0.9, 0.5], [0.5, 0.8]]), np.arange(3.0)
    >>> influence = key_influence(times, times, sde)
    >>> parts = [
    ...     partial_attention(x, x[keys], x[keys], sde, correlated=True, influence=part)
    ...     for keys in (slice(0, 2), slice(2, 3))
    ...     for part in (influence.part(keys),)
    ... ]
    >>> finish(merge(*parts)).mean.shape
    (3, 2)
    """
    xp, leading = _check(query_times, key_times, sde, key_mask, causal=causal)
    device = device_of(key_times)
    wide = wide_dtype(xp, device)
    queries, keys = query_times.shape[-1], key_times.shape[-1]
    query_times, key_times = (with_rank(x, leading + 1) for x in (query_times, key_times))
    key_mask = None if key_mask is None else with_rank(key_mask, leading + 1)
    pairs = None if key_mask is None else key_mask[..., None, :]
    visibility = Visibility(queries, keys, causal, pairs)
    visible = visibility.visible_tokens(leading, device=device, xp=xp)
    times = relative_times(query_times, key_times, *visible, dtype=wide, xp=xp)
    places = times
    if causal:
        place = xp.arange(min(keys - queries, 0), keys, dtype=xp.int32, device=device)
        places = place[place.shape[0] - queries :], place[place.shape[0] - keys :]
    timeline = Timeline(*times, key_mask, causal, regular=False)
    model = aligned(model_in(sde, wide, wide, xp=xp), leading)
    components = components_of(type(sde), _modes(sde)[1])
    query_level, key_level, variance, missing = streamed_influence(
        timeline, model, components, xp=xp
    )
    found = KeyInfluence(*times, *places, key_mask, query_level, key_level, variance, missing)
    return found.with_axes(leading)


def _check(
    query_times: Array, key_times: Array, sde: SDE, key_mask: Array | None, *, causal: bool
) -> tuple[Namespace, int]:
    """Check everything but values; return the namespace and the number of leading axes."""
    check_sde(sde)
    if not isinstance(causal, bool):
        msg = f"`causal` must be True or False, got {causal!r}. Convert it."
        raise TypeError(msg)
    times = {"query_times": query_times, "key_times": key_times}
    arrays = times if key_mask is None else {**times, "key_mask": key_mask}
    for name, x in arrays.items():
        check_array(name, x)
    parameters = _filter_parameters(sde)
    xp = namespace(**arrays, **parameters)
    check_devices(xp, **arrays, **parameters)
    for name, x in times.items():
        check_times(name, x, xp=xp)
        if not x.ndim or (name == "key_times" and not x.shape[-1]):
            msg = (
                f"`{name}` must have shape (..., tokens), with a key at least, got "
                f"{tuple(x.shape)}. Pass the time of each token."
            )
            raise ValueError(msg)
    if key_mask is not None:
        check_boolean("key_mask", key_mask, xp=xp)
        check_axis("key_mask", key_mask, -1, key_times.shape[-1], "the tokens of `key_times`")
    leading = {name: x.shape[:-1] for name, x in arrays.items()}
    of, modes = _modes(sde)
    sizes = dict.fromkeys(parameters, (modes, of)) if isinstance(sde, DiagonalSDE) else {}
    return xp, len(broadcast_shape(leading | parameter_shapes(parameters, sizes)))


def _filter_parameters(sde: SDE) -> dict[str, Parameter]:
    """Return the parameters that a filter depends on, by name."""
    parameters = parameters_of(sde, "sde.").items()
    return {name: x for name, x in parameters if not name.endswith("frequency")}


def _modes(sde: SDE) -> tuple[str, int]:
    """Return the number of modes of the parameters, and the name of one that has as many."""
    sizes = {name: shape_of(x)[-1:] or (1,) for name, x in _filter_parameters(sde).items()}
    name = max(sizes, key=lambda each: sizes[each])
    return name, sizes[name][0]
