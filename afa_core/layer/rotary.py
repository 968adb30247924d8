"""From rotary dot-product attention to the layer that does the same, to learn away from (§7.1)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any

from afa_core._array.arrays import Array, namespace
from afa_core._array.pairs import Layout
from afa_core.layer.format import check
from afa_core.layer.parameters import Initial, Start, initial
from afa_core.layer.settings import Settings
from afa_core.layer.value import Layer

LEAST = 1e-12
"""Decay and process noise to start at: zero to rounding, with a slope."""


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
        ``output_weight``, shape (features, heads · 2d), and their ``…_bias`` or none of them; rows
        of queries and keys paired within each head as `layout` says.
    heads : int
    frequency : array, shape (d,), or tuple of floats
        θ of each pair, rad/token: what the layer turns queries and keys by at time 1.
    layout : {"interleaved", "halves"}
    radius : float or None
        A length that no key exceeds: keys are completed to it (`Settings.sphere`), which leaves
        their products alone. About 1.5 times the longest key of some real input is good; rounding
        grows as its square. None where the layer normalises queries and keys itself.
    settings : mapping or None
        Further fields of `Settings`, such as ``fixed``; ``normalised=("query", "key")`` for a
        layer that normalises both.

    Returns
    -------
    Layer
        Its decays and process noises are 10⁻¹², on the constraint "absolute", so that training
        can leave zero.

    Raises
    ------
    ValueError
        If shapes do not fit each other, or nothing makes keys of one length.

    References
    ----------
    Spec §7.1.
    """
    xp = namespace(**weights)
    width, features = weights["query_weight"].shape
    own: dict[str, Any] = {
        "features": features,
        "heads": heads,
        "modes": width // (2 * heads),
        "value_modes": weights["value_weight"].shape[0] // (2 * heads),
        "weighting": "gaussian",
        "bias": "query_bias" in weights,
        "layout": layout,
        "value_rotation": False,
        "constraint": "absolute",
        "sphere": radius is not None,
    } | dict(settings or {})
    s = Settings(**own)
    if not s.sphere and "key" not in s.normalised:
        msg = (
            "`radius` must be given unless keys are normalised, got None: dot products are "
            "attention of this kind for keys of one length. Pass a length that no key exceeds."
        )
        raise ValueError(msg)
    least = Start(decay=(LEAST, LEAST), stationary=1.0, radius=radius or 1.0)
    first = initial(s, least)
    turning = [-float(each) for each in frequency]
    if len(turning) != s.modes:
        msg = f"`frequency` must have {s.modes} entries, one a pair, got {len(turning)}."
        raise ValueError(msg)
    first["frequency"] = Initial((heads, s.modes), tuple(turning) * heads)
    like = weights["query_weight"]

    def array(name: str, each: Initial) -> Array:
        if name in weights:
            return weights[name]
        values = each.values or (0.0,) * prod(each.shape)
        made = xp.asarray(values, dtype=like.dtype, device=getattr(like, "device", None))
        made = xp.reshape(made, each.shape)
        # of unit root mean square |z| where real channels had it: |z|² is two of them
        return made * sqrt(2.0) if name in ("query_gain", "key_gain") else made

    parameters = {name: array(name, each) for name, each in first.items()}
    check({name: tuple(x.shape) for name, x in parameters.items()}, s)
    return Layer(s, parameters)
