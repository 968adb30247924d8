"""Random states around an estimate (spec §10)."""

from __future__ import annotations

from typing import Any, Protocol

from afa_core._array import pairs
from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    broadcast_shape,
    check_array,
    check_devices,
    check_real,
    device_of,
    in_one_rank,
    namespace,
    shape_of,
    with_rank,
)
from afa_core._array.pairs import Layout, Pair
from afa_core._checks.shapes import check_axis, check_same_kind
from afa_core.model.estimates import Estimate, check_modes, read_tokens
from afa_core.model.sde import RadialTangential, check_instance


class Generator(Protocol):
    """The method of `numpy.random.Generator` that sampling uses."""

    def standard_normal(self, size: tuple[int, ...]) -> Any:
        """Draw standard normal numbers."""
        ...


def sample(
    estimate: Estimate,
    *,
    rng: Generator,
    query_noise: Parameter = 0.0,
    anchor: Array | None = None,
    layout: Layout = "interleaved",
) -> Array:
    """Draw states from an estimate: complex normal with mean x̂ and variance 1/p + γ².

    Parameters
    ----------
    estimate : Estimate
        Mean (..., n, c_v) and precision; without visible keys the variance is infinite.
    rng : numpy.random.Generator
        Source of the random numbers, which are moved to the library and device of the mean.
    query_noise : array, broadcastable to the precision, or float
        γ², value²: with zero, states are drawn; with the noise of the query, tokens.
    anchor : array, shape (..., n, c_v), or None
        The direction of each estimate, for a radial–tangential precision only.
    layout : {"interleaved", "halves"}

    Returns
    -------
    array, shape (..., n, c_v)
        Of the kind, layout and dtype of the mean. The real and the imaginary part are independent
        and have half of the variance each.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes do not fit each other, or an anchor is missing or superfluous.

    References
    ----------
    Spec §10.
    """
    check_instance("estimate", estimate, Estimate)
    check_generator(rng)
    xp, leading = _check(estimate, query_noise, anchor, layout)
    mean, precision = estimate
    center = read_tokens(with_rank(mean, len(leading) + 2), layout, xp=xp)

    def standard() -> Array:
        drawn = rng.standard_normal((*leading, *center.real.shape[-2:]))
        return xp.asarray(drawn, dtype=center.real.dtype, device=device_of(mean))

    def deviation(p: Array) -> Array:
        own, noise = in_one_rank(p, query_noise)
        variance = 1.0 / own + noise
        variance = variance if p.ndim == mean.ndim else variance[..., None]
        return xp.sqrt(with_rank(variance, center.real.ndim) / 2.0)

    noise = Pair(standard(), standard())
    if anchor is None:
        noise = pairs.scale(deviation(precision), noise)
    else:
        direction = read_tokens(with_rank(anchor, len(leading) + 2), layout, xp=xp)
        along = pairs.project(noise, direction, xp=xp)
        across = pairs.subtract(noise, along)
        noise = pairs.add(
            pairs.scale(deviation(precision.radial), along),
            pairs.scale(deviation(precision.tangential), across),
        )
    return pairs.join(pairs.add(center, noise), layout, mean.dtype, xp=xp)


def check_generator(rng: object) -> None:
    """Raise TypeError unless `rng` draws standard normal numbers."""
    if not hasattr(rng, "standard_normal"):
        msg = (
            f"`rng` must be a numpy.random.Generator, got {type(rng).__name__}. "
            "Make one with numpy.random.default_rng."
        )
        raise TypeError(msg)


def _check(
    estimate: Estimate, query_noise: Parameter, anchor: Array | None, layout: Layout
) -> tuple[Namespace, tuple[int, ...]]:
    """Return the namespace and the leading shape of the samples after all checks."""
    mean, precision = estimate
    directed = isinstance(precision, RadialTangential)
    if directed and anchor is None:
        msg = (
            "`anchor` must be given with a precision of type RadialTangential, got None. "
            "Pass the direction of each estimate, (..., n, c_v)."
        )
        raise ValueError(msg)
    if not directed and anchor is not None:
        msg = "`anchor` belongs to a precision of type RadialTangential only. Leave it out."
        raise ValueError(msg)
    precisions = {"estimate.precision": precision}
    if anchor is not None:
        precisions = {f"estimate.precision.{k}": p for k, p in precision._asdict().items()}
    for name, p in precisions.items():
        check_real(name, p)
    xp = check_modes("estimate.mean", mean, layout, query_noise=query_noise, **precisions)
    modes = read_tokens(mean, layout, xp=xp).real.shape[-1]
    shapes = {"estimate.mean": mean.shape[:-2]}
    for name, p in precisions.items():
        per_mode = p.ndim == mean.ndim
        if per_mode:
            check_axis(name, p, -1, modes, "the modes of `estimate.mean`")
        check_axis(name, p, -2 if per_mode else -1, mean.shape[-2], "the tokens of `estimate.mean`")
        shapes[name] = p.shape[: -2 if per_mode else -1]
        shape = {name: tuple(p.shape), "query_noise": shape_of(query_noise)}
        if broadcast_shape(shape, "the variances") != shape[name]:
            msg = (
                f"`query_noise` must broadcast to {shape[name]}, the shape of `{name}`, "
                f"got {shape['query_noise']}. Leave out axes that the precision has not."
            )
            raise ValueError(msg)
    if anchor is not None:
        check_array("anchor", anchor)
        arrays = {"estimate.mean": mean, "anchor": anchor}
        check_devices(namespace(**arrays), **arrays)
        check_same_kind(arrays, xp=xp)
        check_axis("anchor", anchor, -1, mean.shape[-1], "the channels of `estimate.mean`")
        check_axis("anchor", anchor, -2, mean.shape[-2], "the tokens of `estimate.mean`")
        shapes["anchor"] = anchor.shape[:-2]
    return xp, broadcast_shape(shapes)
