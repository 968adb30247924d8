"""Conversion of rotary dot-product attention to a layer of the same output (spec §7.1)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any

from afa_core._array.arrays import Array, Namespace, compute_dtype, namespace
from afa_core._array.pairs import Layout
from afa_core.layer.format import check_arrays
from afa_core.layer.parameters import Initial, initial
from afa_core.layer.settings import PROJECTED, Settings
from afa_core.layer.start import Start
from afa_core.layer.value import Layer

NEAR_ZERO = 1e-12
"""Initial decay and process noise: zero to rounding, with a nonzero gradient."""


def from_rotary(
    weights: Mapping[str, Array],
    *,
    heads: int,
    frequency: Any,
    layout: Layout,
    radius: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Layer:
    """Return the layer that gives the output of a rotary dot-product layer.

    softmax(q̂†k̂/√(2d)) v with q̂ = e^{iθt}q is Gaussian attention at ω = −θ without decay and
    process noise, where d(η² + γ²) = 2√(2d) and keys have one length.

    Parameters
    ----------
    weights : mapping of str to array
        ``query_weight``, ``key_weight``, ``value_weight``, shape (heads · 2d, features),
        ``output_weight``, shape (features, heads · 2d), and ``…_bias`` of all four or of none.
        Rows of queries and keys are paired within each head as given by `layout`.
    heads : int
    frequency : array, shape (d,), or tuple of floats
        θ of each pair, rad/token: the angle by which queries and keys are rotated at time 1.
    layout : {"interleaved", "halves"}
    radius : float or None
        An upper bound of the lengths of keys: keys are extended to this length
        (`Settings.sphere`), which does not change their products with queries. About 1.5 times
        the longest key of some real input is a good value; rounding errors grow as its square.
        None if the layer normalises queries and keys itself.
    settings : mapping or None
        Further fields of `Settings`, such as ``fixed``; ``normalised=("query", "key")`` for a
        layer that normalises both.

    Returns
    -------
    Layer
        Its decays and process noises are 10⁻¹², with the constraint "absolute", so that training
        can move them away from zero.

    Raises
    ------
    ValueError
        If a weight is missing or of another name, shapes do not fit each other, or keys are neither
        normalised nor extended to `radius`.

    References
    ----------
    Spec §7.1.
    """
    _check_projections(weights)
    xp = namespace(**weights)
    chosen = _settings_of(weights, heads, layout, sphere=radius is not None, others=settings or {})
    if not chosen.sphere and "key" not in chosen.normalised:
        msg = (
            "`radius` must be given unless keys are normalised, got None: dot products are "
            "attention of this kind for keys of one length. Pass a length that no key exceeds."
        )
        raise ValueError(msg)
    start = Start(decay=(NEAR_ZERO, NEAR_ZERO), stationary=1.0, radius=radius or 1.0)
    first = initial(chosen, start)
    omega = tuple(-float(theta) for theta in frequency)
    if len(omega) != chosen.modes:
        msg = f"`frequency` must have {chosen.modes} entries, one a pair, got {len(omega)}."
        raise ValueError(msg)
    first["frequency"] = Initial((heads, chosen.modes), omega * heads)
    if unknown := sorted(set(weights) - set(first)):
        msg = (
            f"`weights` must be parameters of the layer, got {unknown}. It has {', '.join(first)}."
        )
        raise ValueError(msg)
    like = weights["query_weight"]
    parameters = {
        name: weights[name] if name in weights else _array(name, each, like, xp=xp)
        for name, each in first.items()
    }
    check_arrays(parameters, chosen)
    return Layer(chosen, parameters)


def _check_projections(weights: Mapping[str, Array]) -> None:
    """Raise ValueError unless there are the weights of all projections, and all biases or none."""
    biased = any(name.endswith("_bias") for name in weights)
    for part in ("weight", "bias") if biased else ("weight",):
        for name in (*PROJECTED, "output"):
            if f"{name}_{part}" not in weights:
                msg = (
                    f"`weights` must have `{name}_{part}`, got {', '.join(weights) or 'none'}. "
                    "Pass the arrays of all four projections, zeros for a bias that one lacks."
                )
                raise ValueError(msg)


def _settings_of(
    weights: Mapping[str, Array],
    heads: int,
    layout: Layout,
    *,
    sphere: bool,
    others: Mapping[str, Any],
) -> Settings:
    """Return the settings of the rotary limit, with `others` in place of the defaults."""
    width, features = weights["query_weight"].shape
    kv_heads = others.get("kv_heads") or heads
    fields: dict[str, Any] = {
        "features": features,
        "heads": heads,
        "modes": width // (2 * heads),
        "value_modes": weights["value_weight"].shape[0] // (2 * kv_heads),
        "weighting": "gaussian",
        "bias": "query_bias" in weights,
        "layout": layout,
        "value_rotation": False,
        "constraint": "absolute",
        "sphere": sphere,
    }
    return Settings(**fields | dict(others))


def _array(name: str, first: Initial, like: Array, *, xp: Namespace) -> Array:
    """Return the initial values of a parameter, at least in single precision, where `like` is."""
    values = first.values or (0.0,) * prod(first.shape)
    dtype = compute_dtype(xp, like)
    x = xp.asarray(values, dtype=dtype, device=getattr(like, "device", None))
    x = xp.reshape(x, first.shape)
    # Unit root mean square per real channel is √2 per mode: |z|² has two channels.
    return x * sqrt(2.0) if name in ("query_gain", "key_gain") else x
