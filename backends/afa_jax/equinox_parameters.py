"""The parameters of the layer for Equinox: where they are stored, their labels, projections."""

from __future__ import annotations

from typing import Any

import equinox
import jax
import jax.numpy as jnp

from afa_core._array.arrays import with_rank
from afa_core.layer import Parameters, trained
from afa_core.layer.frameworks import MODULES
from afa_core.layer.parameters import PROJECTIONS
from afa_jax.layer_base import AttentionBase


def parameter_labels(model: Any) -> Any:
    """Return the groups of the parameters of a model by name, for ``optax.multi_transform``.

    Weight decay would draw the unconstrained parameters of dynamics and noise to zero, a point of
    no meaning, so it is for ``"matrices"`` alone.

    Parameters
    ----------
    model : PyTree
        A layer, or a model that contains layers.

    Returns
    -------
    PyTree
        ``"matrices"``, ``"vectors"`` such as biases and gains of norms (arrays with one axis that
        is longer than 1), ``"dynamics"`` of the layers with their noise, and ``"fixed"``: the
        parameters of layers that are not trained, and all leaves that are not floating-point
        arrays.

    Notes
    -----
    Optax would call the labels of a model that can be called, so pass it this function. Arrays of
    stacked layers have one axis more; pass the labels of one of them, as ``lambda _: labels``.

    Examples
    --------
    >>> import optax
    >>> from afa_jax.equinox_layer import AdaptiveFilterAttention
    >>> layer = AdaptiveFilterAttention(8, 2, key=jax.random.key(0))
    >>> optimiser = optax.multi_transform(
    ...     {
    ...         "matrices": optax.adamw(1e-3, weight_decay=0.1),
    ...         "vectors": optax.adam(1e-3),
    ...         "dynamics": optax.adam(1e-2),
    ...         "fixed": optax.set_to_zero(),
    ...     },
    ...     parameter_labels,
    ... )
    >>> state = optimiser.init(layer)
    """
    return jax.tree.map(_label, model, is_leaf=_is_layer)


def learnt(model: Any) -> Any:
    """Return the mask of the learned parameters of a model, a tree of booleans.

    For ``equinox.partition`` and ``optax.masked``: True for floating-point arrays, except for the
    fixed parameters of the layers in the model.
    """
    return jax.tree.map(lambda label: label != "fixed", parameter_labels(model))


def parameters_of(layer: Any) -> dict[str, Any]:
    """Return the parameters of a layer by name, but those of projections that were replaced."""
    found: dict[str, Any] = dict(layer.dynamics)
    for name, attribute in MODULES.items():
        projection = getattr(layer, attribute)
        if type(projection) is equinox.nn.Linear:
            found[f"{name}_weight"] = projection.weight
            if projection.use_bias:
                found[f"{name}_bias"] = projection.bias
    return found


def with_parameters(layer: Any, parameters: Parameters) -> Any:
    """Return a layer with other leaves in the place of its parameters."""
    names = tuple(parameters_of(layer))  # trees sort the keys of `dynamics`

    def leaves(layer: Any) -> list[Any]:
        found = parameters_of(layer)
        return [found[name] for name in names]

    return equinox.tree_at(leaves, layer, [parameters[n] for n in names], is_leaf=_is_none)


def stop_fixed(layer: Any) -> Any:
    """Return a layer without the gradients of its fixed parameters."""
    trainable = trained(layer.settings)
    parameters = parameters_of(layer)
    fixed = {name: jax.lax.stop_gradient(x) for name, x in parameters.items()}
    return with_parameters(layer, fixed | {n: x for n, x in parameters.items() if n in trainable})


def is_linear(projection: Any) -> bool:
    """Whether a projection is an ``equinox.nn.Linear`` with plain weights."""
    return type(projection) is equinox.nn.Linear and equinox.is_array(projection.weight)


def linear(parameters: Parameters, name: str) -> equinox.nn.Linear:
    """Return the projection of that name as a module."""
    weight, bias = parameters[f"{name}_weight"], parameters.get(f"{name}_bias")
    rows, columns = weight.shape
    options: Any = {"use_bias": bias is not None, "key": jax.random.key(0)}
    skeleton = equinox.filter_eval_shape(equinox.nn.Linear, columns, rows, **options)
    module: equinox.nn.Linear = equinox.tree_at(
        lambda module: (module.weight, module.bias), skeleton, (weight, bias), is_leaf=_is_none
    )
    return module


def project(module: Any, x: jax.Array) -> jax.Array:
    """Call a module on every token (..., features), its arrays and its result in their dtype."""

    def cast(leaf: Any) -> Any:
        floating = equinox.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(x.dtype) if floating else leaf

    function = jax.tree.map(cast, module)
    if is_linear(function):  # mapped over tokens, the product would be transposed
        y: Any = x @ function.weight.T
        y = y if function.bias is None else y + with_rank(function.bias, y.ndim)
    else:
        for _ in range(x.ndim - 1):
            function = jax.vmap(function)
        y = function(x)
    projected: jax.Array = y.astype(x.dtype)
    return projected


def _is_layer(x: object) -> bool:
    return isinstance(x, AttentionBase)


def _label(x: Any) -> Any:
    """Return the label of a leaf, or the labels of a layer."""
    if not _is_layer(x):
        return _label_by_rank(x)
    trainable, present = trained(x.settings), parameters_of(x)

    def label(name: str) -> str | None:
        if present[name] is None:  # of a model that was partitioned
            return None
        if name not in trainable:
            return "fixed"
        if name.endswith(PROJECTIONS):
            return "matrices" if name.endswith("_weight") else "vectors"
        return "dynamics"

    return with_parameters(jax.tree.map(_label_by_rank, x), {n: label(n) for n in present})


def _label_by_rank(x: Any) -> str:
    abstract = isinstance(x, jax.ShapeDtypeStruct) and jnp.issubdtype(x.dtype, jnp.inexact)
    if not (abstract or equinox.is_inexact_array(x)):
        return "fixed"
    return "matrices" if sum(size > 1 for size in x.shape) > 1 else "vectors"


def _is_none(x: object) -> bool:
    return x is None
