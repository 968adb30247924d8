"""Linear functions whose transposes are given, for JAX to differentiate in either mode."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import jax
from jax.extend.core import Primitive, unmapped_aval
from jax.interpreters import ad, batching, mlir

AD: Any = ad
BATCHING: Any = batching
_linear: Any = Primitive("linear_with_transpose")
_linear.multiple_results = True


def linear(
    function: Callable[[Any, Any], Any],
    transposed: Callable[[Any, Any], Any],
    constants: Any,
    x: Any,
    like: Any,
) -> Any:
    """Return ``function(constants, x)``, linear in x, whose types are those of `like`.

    In reverse mode ``transposed(constants, grad)`` is its transpose, and the function itself is not
    evaluated. A derivative with respect to the constants is that of the function.
    """
    given, constants_tree = jax.tree.flatten(constants)
    leaves, tree = jax.tree.flatten(x)
    results, results_tree = jax.tree.flatten(like)

    def flat(function: Callable[[Any, Any], Any], tree: Any) -> Callable[..., list[Any]]:
        def of_leaves(*arrays: Any) -> list[Any]:
            rest = arrays[len(given) :]
            own = jax.tree.unflatten(constants_tree, arrays[: len(given)])
            return jax.tree.leaves(function(own, jax.tree.unflatten(tree, rest)))

        return of_leaves

    found = _linear.bind(
        *given,
        *leaves,
        function=flat(function, tree),
        transposed=flat(transposed, results_tree),
        constants=len(given),
        types=tuple(jax.typeof(each).update(weak_type=False) for each in results),
    )
    return jax.tree.unflatten(results_tree, found)


def _evaluate(*arrays: Any, function: Callable[..., list[Any]], **_: Any) -> list[Any]:
    return function(*arrays)


def _jvp(primals: Any, tangents: Any, **options: Any) -> tuple[Any, Any]:
    count = options["constants"]
    tangents = [AD.instantiate_zeros(x) if i >= count else x for i, x in enumerate(tangents)]
    if all(isinstance(x, AD.Zero) for x in tangents[:count]):
        along = _linear.bind(*primals[:count], *tangents[count:], **options)
        return _linear.bind(*primals, **options), along
    tangents = [AD.instantiate_zeros(x) for x in tangents]
    return jax.jvp(options["function"], tuple(primals), tuple(tangents))


def _transpose(
    grads: Any, *arrays: Any, function: Any, transposed: Any, constants: int, types: Any
) -> list[Any]:
    undefined = [AD.is_undefined_primal(x) for x in arrays]
    own = [x.aval if new else jax.typeof(x) for new, x in zip(undefined, arrays, strict=True)]
    found = _linear.bind(
        *arrays[:constants],
        *(AD.instantiate_zeros(x) for x in grads),
        function=transposed,
        transposed=function,
        constants=constants,
        types=tuple(own[constants:]),
    )
    grads = [None] * constants + list(found)
    return [x if new else None for new, x in zip(undefined, grads, strict=True)]


def _batch(
    arrays: Any, axes: Any, *, function: Any, transposed: Any, constants: int, types: Any
) -> tuple[Any, Any]:
    pairs = list(zip(arrays, axes, strict=True))
    size = next(x.shape[axis] for x, axis in pairs if axis is not None)
    front = [BATCHING.bdim_at_front(x, axis, size) for x, axis in pairs[constants:]]
    own = axes[:constants]
    found = _linear.bind(
        *arrays[:constants],
        *front,
        function=jax.vmap(function, (*own, *repeat(0, len(front)))),
        transposed=jax.vmap(transposed, (*own, *repeat(0, len(types)))),
        constants=constants,
        types=tuple(unmapped_aval(size, 0, each) for each in types),
    )
    return found, [0] * len(found)


_linear.def_impl(_evaluate)
_linear.def_abstract_eval(lambda *_, types, **__: list(types))
AD.primitive_jvps[_linear] = _jvp
AD.primitive_transposes[_linear] = _transpose
BATCHING.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_evaluate, multiple_results=True))
