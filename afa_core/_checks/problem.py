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
    wide_dtype,
    with_rank,
)
from afa_core._array.masks import Visibility
from afa_core._array.pairs import Layout, Pair
from afa_core._checks.arguments import Arguments, check
from afa_core._checks.evaluation import tolerance_in
from afa_core._checks.parameters import aligned, cast_parameters, model_in
from afa_core._checks.times import complete_times, relative_times, within_range
from afa_core.model.influence import Timeline
from afa_core.model.sde import DiagonalSDE, RadialTangential, RadialTangentialSDE
from afa_core.model.weighting import Weighting


class Packed(NamedTuple):
    """Tokens whose modes are pairs of real channels."""

    query: Array  # (..., n, 2d)
    key: Array  # (..., m, 2d)
    value: Array  # (..., m, 2d_v)
    anchor: Array | None  # (..., n, 2d_v)


class Problem(NamedTuple):
    """The input of an implementation: checked, cast, in real pairs, hidden tokens zeroed.

    All arrays have as many leading axes, each as long as that of the problem or 1.
    """

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
    correlated: bool  # whether keys are weighted by their influence on the exact estimate
    query_variance: Any  # γ² of each query, (..., n), (..., n, d) or two of them; or None
    tolerance: float  # share of the weight of a row that may be left out
    dtype: DType  # of the output
    token_dtype: DType  # of tokens as given, if all have one; else of the computation
    logit_bias: Array | None = None  # B_ij, (..., n, m); of the reference alone
    weight_factor: Array | None = None  # of the normalised weights, (..., n, m); alike

    def query(self, *, xp: Namespace) -> Pair:
        """Return the queries, (..., n, d), bounded so that residuals have finite squares."""
        query = pairs.bounded(self.packed.query, 2 * self.modes, xp=xp)
        return pairs.unpack(query, self.order)

    def key(self, *, xp: Namespace) -> Pair:
        """Return the keys, (..., m, d), bounded alike."""
        return pairs.unpack(pairs.bounded(self.packed.key, 2 * self.modes, xp=xp), self.order)

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
        """Frequencies ω_v at which values rotate."""
        sde = self.sde
        return sde.frequency if isinstance(sde, DiagonalSDE) else sde.value_frequency

    def visible(self, *, xp: Namespace) -> Array | None:
        """Return the mask of all pairs, (..., n, m), None if every query attends to every key."""
        visible = self.visibility.whole(device=device_of(self.packed.query), xp=xp)
        return None if visible is None else with_rank(visible, len(self.leading) + 2)

    def visible_keys(self, *, xp: Namespace) -> Array:
        """Return which keys all queries may attend to, (..., m); for a mask without queries."""
        mask, keys = self.visibility.mask, self.visibility.keys
        if mask is None:
            shape = (*(1,) * len(self.leading), keys)
            return xp.ones(shape, dtype=xp.bool, device=device_of(self.packed.query))
        return xp.broadcast_to(mask[..., 0, :], (*mask.shape[:-2], keys))

    def timeline(self, *, xp: Namespace) -> Timeline:
        """Return the times of queries and keys, and which keys are visible to all queries."""
        masked = self.visibility.mask is not None
        return Timeline(
            self.query_times,
            self.key_times,
            self.visible_keys(xp=xp) if masked else None,
            self.visibility.causal,
            self.regular and not masked,
        )

    def lag(self, visible: Array | None, *, xp: Namespace) -> Array:
        """Return Δ_ij = t_i − t_j, (..., n, m), in the widest dtype; zero for hidden pairs."""
        lag = self.query_times[..., :, None] - self.key_times[..., None, :]
        return lag if visible is None else xp.where(visible, lag, 0.0)

    def narrow(self, x: Array, *, xp: Namespace) -> Array:
        """Cast to the dtype of the computation."""
        return xp.astype(x, self.packed.query.dtype, copy=False)

    def pack(self, modes: Pair, *, xp: Namespace) -> Array:
        """Pack modes in the layout in which an implementation returns its mean."""
        return pairs.pack(modes, self.order, xp=xp)

    def write(self, mean: Array, *, xp: Namespace) -> Array:
        """Convert a mean to the kind, layout and dtype of the caller's value."""
        if xp.isdtype(self.dtype, "complex floating"):
            return pairs.join(pairs.unpack(mean, self.order), self.order, self.dtype, xp=xp)
        return xp.astype(mean, self.dtype, copy=False)


def prepare(arguments: Arguments) -> tuple[Problem, Namespace]:
    """Check the arguments and bring them into the form that implementations take."""
    xp, leading = check(arguments)
    regular = arguments.query_times is None and arguments.key_times is None
    device = device_of(arguments.query)
    dtype = compute_dtype(xp, arguments.query, arguments.key, arguments.value)
    wide = wide_dtype(xp, device)
    arguments = _aligned(_complete(arguments, wide, device, xp=xp), len(leading))
    query, key, query_times, key_times = _with_times(arguments)
    visibility = Visibility(query.shape[-2], key.shape[-2], arguments.causal, arguments.mask)
    visible = visibility.visible_tokens(len(leading), device=device, xp=xp)
    if not regular:
        times = relative_times(query_times, key_times, *visible, dtype=wide, xp=xp)
        query_times, key_times = (within_range(x, dtype, xp=xp) for x in times)
    packed, order = _pack_tokens(arguments, *visible, dtype=dtype, xp=xp)
    problem = Problem(
        packed=packed,
        order=order,
        query_times=query_times,
        key_times=key_times,
        regular=regular,
        visibility=visibility,
        leading=leading,
        sde=model_in(arguments.sde, dtype, wide, xp=xp),
        weighting=cast_parameters(arguments.weighting, dtype, wide, xp=xp),
        inverse_temperature=cast_parameters(arguments.inverse_temperature, dtype, wide, xp=xp),
        correlated=arguments.correlated,
        query_variance=_query_variance(arguments, visible[0], dtype, xp=xp),
        tolerance=tolerance_in(dtype, arguments.tolerance, xp=xp) if arguments.correlated else 0.0,
        dtype=arguments.value.dtype,
        token_dtype=_token_dtype(arguments, dtype, xp=xp),
    )
    return problem, xp


def _token_dtype(arguments: Arguments, computed: DType, *, xp: Namespace) -> DType:
    """Return the real dtype that all tokens have in common, else that of the computation."""
    given = arguments.value.dtype
    common = all(x.dtype == given for x in arguments.tokens.values())
    return given if common and xp.isdtype(given, "real floating") else computed


def _pack_tokens(
    arguments: Arguments,
    query_visible: Array | None,
    key_visible: Array | None,
    *,
    dtype: DType,
    xp: Namespace,
) -> tuple[Packed, Layout]:
    """Return the tokens in real pairs of a dtype, zero where hidden, and their layout."""
    paired = not pairs.is_complex(arguments.query, xp=xp)
    order: Layout = arguments.layout if paired else "interleaved"

    def pack(x: Array, visible: Array | None) -> Array:
        packed = x if paired else pairs.pack(pairs.split(x, order, xp=xp), order, xp=xp)
        packed = xp.astype(packed, dtype, copy=False)
        return packed if visible is None else xp.where(visible[..., None], packed, 0.0)

    anchor = arguments.anchor
    packed = Packed(
        query=pack(arguments.query, query_visible),
        key=pack(arguments.key, key_visible),
        value=pack(arguments.value, key_visible),
        anchor=None if anchor is None else pack(anchor, query_visible),
    )
    return packed, order


def _query_variance(
    arguments: Arguments, visible: Array | None, dtype: DType, *, xp: Namespace
) -> Any:
    """Return the variance of each query in a dtype, 1 where it attends to no key."""
    given = cast_parameters(arguments.query_variance, dtype, dtype, xp=xp)
    if visible is None:
        return given
    return visible_variance(given, visible, per_mode=isinstance(arguments.sde, DiagonalSDE), xp=xp)


def visible_variance(given: Any, visible: Array, *, per_mode: bool, xp: Namespace) -> Any:
    """Return the variance of each query, 1 where it attends to no key."""

    def shown(x: Array) -> Array:
        return xp.where(visible[..., None] if per_mode else visible, x, 1.0)

    if isinstance(given, RadialTangential):
        return RadialTangential(*map(shown, given))
    return None if given is None else shown(given)


def _complete(arguments: Arguments, wide: DType, device: Device, *, xp: Namespace) -> Arguments:
    """Fill in what was left out: times and the anchor."""
    queries, keys = arguments.query.shape[-2], arguments.key.shape[-2]
    query_times, key_times = complete_times(
        arguments.query_times, arguments.key_times, queries, keys, dtype=wide, device=device, xp=xp
    )
    arguments = arguments._replace(query_times=query_times, key_times=key_times)
    if isinstance(arguments.sde, RadialTangentialSDE) and arguments.anchor is None:
        arguments = arguments._replace(anchor=arguments.value)
    return arguments if keys else _with_hidden_key(arguments, device, xp=xp)


def _aligned(arguments: Arguments, leading: int) -> Arguments:
    """Return arguments whose arrays have so many leading axes, of length one where they lack them.

    Then no operation broadcasts arrays of different ranks, which JAX may be set to refuse.
    """
    per_token = 2 if isinstance(arguments.sde, DiagonalSDE) else 1
    own = {"query_times": 1, "key_times": 1, "mask": 2, "query_variance": per_token}
    own |= dict.fromkeys(arguments.tokens, 2)
    own |= dict.fromkeys(("sde", "weighting", "inverse_temperature"), 0)
    return arguments._replace(
        **{name: aligned(getattr(arguments, name), leading, each) for name, each in own.items()}
    )


def _with_times(arguments: Arguments) -> tuple[Array, Array, Array, Array]:
    """Return queries and keys with the times that were filled in."""
    assert arguments.query_times is not None
    assert arguments.key_times is not None
    return arguments.query, arguments.key, arguments.query_times, arguments.key_times


def _with_hidden_key(arguments: Arguments, device: Device, *, xp: Namespace) -> Arguments:
    """Replace an empty sequence of keys by one key that is hidden from every query."""

    def token(x: Any, axis: int) -> Array:  # joined, so that a gradient of no key is zero
        shape = list(x.shape)
        shape[axis] = 1
        return xp.concat([x, xp.zeros(tuple(shape), dtype=x.dtype, device=device)], axis=axis)

    leading = () if arguments.mask is None else arguments.mask.shape[:-2]
    return arguments._replace(
        key=token(arguments.key, -2),
        value=token(arguments.value, -2),
        key_times=token(arguments.key_times, -1),
        mask=xp.zeros((*leading, 1, 1), dtype=xp.bool, device=device),
    )
