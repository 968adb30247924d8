"""From the caller's arrays to a problem in real pairs (spec §8)."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array import pairs
from afa_core._array.arrays import (
    Array,
    Device,
    DType,
    Namespace,
    Parameter,
    compute_dtype,
    device_of,
    is_number,
    wide_dtype,
)
from afa_core._array.masks import Visibility
from afa_core._array.pairs import Layout, Pair
from afa_core._checks.arguments import Arguments, check
from afa_core._checks.times import complete_times, relative_times
from afa_core.model.sde import DiagonalSDE, RadialTangentialSDE
from afa_core.model.weighting import Weighting


class Packed(NamedTuple):
    """Tokens whose modes are pairs of real channels."""

    query: Array  # (..., n, 2d)
    key: Array  # (..., m, 2d)
    value: Array  # (..., m, 2d_v)
    anchor: Array | None  # (..., n, 2d_v)


class Problem(NamedTuple):
    """What an implementation is given: checked, cast, in real pairs, hidden tokens zeroed."""

    packed: Packed
    order: Layout  # of the pairs in `packed`, and in the mean that an implementation returns
    query_times: Array  # (..., n), in the widest dtype
    key_times: Array  # (..., m)
    regular: bool  # whether the times are the places in the sequence
    visibility: Visibility
    leading: tuple[int, ...]  # batch and heads, to which all arguments broadcast
    sde: Any
    weighting: Weighting
    inverse_temperature: Parameter
    dtype: DType  # of the output

    @property
    def query(self) -> Pair:
        """Queries, (..., n, d)."""
        return pairs.unpack(self.packed.query, self.order)

    @property
    def key(self) -> Pair:
        """Keys, (..., m, d)."""
        return pairs.unpack(self.packed.key, self.order)

    @property
    def value(self) -> Pair:
        """Values, (..., m, d_v)."""
        return pairs.unpack(self.packed.value, self.order)

    @property
    def anchor(self) -> Pair | None:
        """Directions of estimates, (..., n, d_v)."""
        anchor = self.packed.anchor
        return None if anchor is None else pairs.unpack(anchor, self.order)

    @property
    def modes(self) -> int:
        """Number d of complex modes of queries and keys."""
        return self.packed.query.shape[-1] // 2

    @property
    def value_frequency(self) -> Any:
        """Frequencies ω_v at which values turn."""
        sde = self.sde
        return sde.frequency if isinstance(sde, DiagonalSDE) else sde.value_frequency

    def visible(self, *, xp: Namespace) -> Array | None:
        """Return which query sees which key, (..., n, m), None if every query sees every key."""
        return self.visibility.whole(device=device_of(self.packed.query), xp=xp)

    def lag(self, visible: Array | None, *, xp: Namespace) -> Array:
        """Return Δ_ij = t_i − t_j, (..., n, m), in the widest dtype; zero for hidden pairs."""
        lag = self.query_times[..., :, None] - self.key_times[..., None, :]
        return lag if visible is None else xp.where(visible, lag, 0.0)

    def narrow(self, x: Array, *, xp: Namespace) -> Array:
        """Cast to the dtype of the computation."""
        return xp.astype(x, self.packed.query.dtype, copy=False)

    def pack(self, modes: Pair, *, xp: Namespace) -> Array:
        """Return modes as an implementation returns its mean."""
        return pairs.pack(modes, self.order, xp=xp)

    def write(self, mean: Array, *, xp: Namespace) -> Array:
        """Give a mean back in the kind, layout and dtype of the caller's value."""
        if xp.isdtype(self.dtype, "complex floating"):
            return pairs.join(pairs.unpack(mean, self.order), self.order, self.dtype, xp=xp)
        return xp.astype(mean, self.dtype, copy=False)


def prepare(a: Arguments) -> tuple[Problem, Namespace]:
    """Check the arguments and bring them into the form that implementations take."""
    xp, leading = check(a)
    regular = a.query_times is None and a.key_times is None
    device = device_of(a.query)
    dtype = compute_dtype(xp, a.query, a.key, a.value)
    wide = wide_dtype(xp, device)
    a = _complete(a, wide, device, xp=xp)
    assert a.query_times is not None
    assert a.key_times is not None
    visibility = Visibility(a.query.shape[-2], a.key.shape[-2], a.causal, a.mask)
    query_seen, key_seen = (None, None) if a.mask is None else visibility.seen(device=device, xp=xp)

    paired = not pairs.is_complex(a.query, xp=xp)
    order: Layout = a.layout if paired else "interleaved"

    def read(x: Array, seen: Array | None) -> Array:
        packed = x if paired else pairs.pack(pairs.split(x, order, xp=xp), order, xp=xp)
        packed = xp.astype(packed, dtype, copy=False)
        return packed if seen is None else xp.where(seen[..., None], packed, 0.0)

    times = a.query_times, a.key_times
    if not regular:
        times = relative_times(*times, query_seen, key_seen, dtype=wide, xp=xp)
    problem = Problem(
        packed=Packed(
            query=read(a.query, query_seen),
            key=read(a.key, key_seen),
            value=read(a.value, key_seen),
            anchor=None if a.anchor is None else read(a.anchor, query_seen),
        ),
        order=order,
        query_times=times[0],
        key_times=times[1],
        regular=regular,
        visibility=visibility,
        leading=leading,
        sde=model_in(a.sde, dtype, wide, xp=xp),
        weighting=cast_parameters(a.weighting, dtype, wide, xp=xp),
        inverse_temperature=cast_parameters(a.inverse_temperature, dtype, wide, xp=xp),
        dtype=a.value.dtype,
    )
    return problem, xp


def _complete(a: Arguments, wide: DType, device: Device, *, xp: Namespace) -> Arguments:
    """Fill in what was left out: times and the anchor."""
    queries, keys = a.query.shape[-2], a.key.shape[-2]
    query_times, key_times = complete_times(
        a.query_times, a.key_times, queries, keys, dtype=wide, device=device, xp=xp
    )
    a = a._replace(query_times=query_times, key_times=key_times)
    if isinstance(a.sde, RadialTangentialSDE) and a.anchor is None:
        a = a._replace(anchor=a.value)
    if a.mask is not None and a.mask.ndim < 2:
        a = a._replace(mask=xp.reshape(a.mask, (1,) * (2 - a.mask.ndim) + tuple(a.mask.shape)))
    return a if keys else _with_hidden_key(a, device, xp=xp)


def _with_hidden_key(a: Arguments, device: Device, *, xp: Namespace) -> Arguments:
    """Stand in for no key at all: one key that no query sees."""

    def token(x: Any, axis: int) -> Array:
        shape = list(x.shape)
        shape[axis] = 1
        return xp.zeros(tuple(shape), dtype=x.dtype, device=device)

    return a._replace(
        key=token(a.key, -2),
        value=token(a.value, -2),
        key_times=token(a.key_times, -1),
        mask=xp.zeros((a.query.shape[-2], 1), dtype=xp.bool, device=device),
    )


def model_in(sde: Any, dtype: DType, wide: DType, *, xp: Namespace) -> Any:
    """Cast a model; values turn at the frequencies of keys unless they have their own."""
    sde = cast_parameters(sde, dtype, wide, xp=xp)
    if not isinstance(sde, DiagonalSDE) and sde.value_frequency is None:
        return sde._replace(value_frequency=sde.frequency)
    return sde


def cast_parameters(x: Any, dtype: DType, wide: DType, *, xp: Namespace) -> Any:
    """Cast the parameters of nested NamedTuples; frequencies get the wide dtype."""
    if isinstance(x, tuple):
        fields = x._asdict().items()  # type: ignore[attr-defined]
        return type(x)(
            *(
                cast_parameters(v, wide if f.endswith("frequency") else dtype, wide, xp=xp)
                for f, v in fields
            )
        )
    if x is None:
        return None
    return float(x) if is_number(x) else xp.astype(x, dtype, copy=False)
