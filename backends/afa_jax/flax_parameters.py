"""The parameters of the layer for Flax NNX: their kinds and labels, projections."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
from flax import nnx

from afa_core.layer import Parameters


class Dynamics(nnx.Param[Any]):
    """A trained parameter of the dynamics, the noise or the gains of a layer."""


class Fixed(nnx.Variable[Any]):
    """A parameter that is not trained."""


def parameter_labels(model: Any, wrt: Any = nnx.Param) -> nnx.State[Any, Any]:
    """Return the groups of the parameters of a model by name, for ``optax.multi_transform``.

    Weight decay would draw the unconstrained parameters of dynamics and noise to zero, a point of
    no meaning, so it is for ``"matrices"`` alone.

    Parameters
    ----------
    model : nnx.Module
        A layer, or a model that contains layers.
    wrt : nnx.filterlib.Filter
        Which variables are trained, as in `nnx.Optimizer`.

    Returns
    -------
    nnx.State
        ``"matrices"``, ``"vectors"`` such as biases and gains of norms, ``"dynamics"`` of the
        layers with their noise; ``"fixed"`` if `wrt` asks for what is not trained.

    Notes
    -----
    Arrays of stacked layers have one axis more; pass the labels of one of them.

    Examples
    --------
    >>> import optax
    >>> from afa_jax.flax_layer import AdaptiveFilterAttention
    >>> layer = AdaptiveFilterAttention(8, 2, rngs=nnx.Rngs(0))
    >>> groups = {
    ...     "matrices": optax.adamw(1e-3, weight_decay=0.1),
    ...     "vectors": optax.adam(1e-3),
    ...     "dynamics": optax.adam(1e-2),
    ... }
    >>> transform = optax.multi_transform(groups, parameter_labels(layer))
    >>> optimiser = nnx.Optimizer(layer, transform, wrt=nnx.Param)
    """

    def label(variable: Any) -> str:
        if isinstance(variable, Dynamics | Fixed):
            return "dynamics" if isinstance(variable, Dynamics) else "fixed"
        return "matrices" if variable.ndim > 1 else "vectors"

    variables = nnx.state(model, wrt)
    labels: nnx.State[Any, Any] = jax.tree.map(
        label, variables, is_leaf=lambda x: isinstance(x, nnx.Variable)
    )
    return labels


def is_linear(projection: Any) -> bool:
    """Whether a projection is an ``nnx.Linear``, whose subclasses may have adapters."""
    return type(projection) is nnx.Linear


def linear(parameters: Parameters, name: str, trainable: Collection[str]) -> nnx.Linear:
    """Return the projection of that name as a module; weights not trained are `Fixed`."""

    def variable(part: str, x: jax.Array) -> Any:
        return nnx.Param(x) if f"{name}_{part}" in trainable else Fixed(x)

    weight, bias = parameters[f"{name}_weight"], parameters.get(f"{name}_bias")
    rows, columns = weight.shape
    options: Any = {"use_bias": bias is not None, "param_dtype": weight.dtype}
    options["promote_dtype"] = _cast_to_inputs
    module: nnx.Linear = nnx.eval_shape(
        lambda: nnx.Linear(columns, rows, **options, rngs=nnx.Rngs(0))
    )
    module.kernel = variable("weight", weight.T)
    if bias is not None:
        module.bias = variable("bias", bias)
    return module


def project(projection: Any, x: jax.Array) -> jax.Array:
    """Call a module on tokens; the result is in their dtype."""
    projected: jax.Array = projection(x)
    return projected.astype(x.dtype)


def _cast_to_inputs(arrays: tuple[Any, ...], *, dtype: Any = None) -> tuple[Any, ...]:
    """Return the inputs, the first array, and weights in their dtype, or all in a given one."""
    dtype = arrays[0].dtype if dtype is None else dtype
    return tuple(None if x is None else x.astype(dtype) for x in arrays)
