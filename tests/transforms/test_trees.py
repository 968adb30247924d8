"""Models are trees of their parameters."""

import pytest

from .problems import forms, model


@pytest.mark.parametrize("library", ["jax", "torch"])
@forms
def test_models_are_trees_of_their_parameters(form, library, host):
    backend = host(library)
    sde = model(form, backend.from_numpy)
    if library == "jax":
        from jax.tree_util import tree_flatten

        leaves, tree = tree_flatten(sde)
        rebuilt = tree.unflatten(leaves)
    else:
        from torch.utils._pytree import tree_flatten, tree_unflatten

        leaves, tree = tree_flatten(sde)
        rebuilt = tree_unflatten(leaves, tree)
    assert len(leaves) == {"isotropic": 6, "diagonal": 5, "radial-tangential": 9}[form]
    assert type(rebuilt) is type(sde)
    assert all(a is b for a, b in zip(tree_flatten(rebuilt)[0], leaves, strict=True))
