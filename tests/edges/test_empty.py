"""No queries, no keys, or a query with no visible key."""

import numpy as np
import pytest

import afa_core as afa

from .problems import anchored, forms, leaves, models, normal


@forms
@pytest.mark.parametrize(
    ("n", "m", "causal"), [(3, 0, True), (3, 0, False), (0, 0, True), (0, 3, True)]
)
def test_no_queries_or_no_keys(form, causal, n, m, library, call):
    sde = models(library)[form]
    query, key = normal(library, n, 4), normal(library, m, 4)
    options = anchored(sde, query)
    mean, precision = call(afa.estimate, query, key, key, sde, causal=causal, **options)
    assert library.to_numpy(mean).shape == (n, 4)
    assert not library.to_numpy(mean).any()
    for each in leaves(precision):
        shape = (n, 2) if form == "diagonal" else (n,)
        assert library.to_numpy(each).shape == shape
        assert not library.to_numpy(each).any()


@forms
def test_query_without_visible_keys_gets_zeros_and_no_precision(form, library, call):
    sde, x = models(library)[form], normal(library, 3, 4)
    visible = np.asarray([[True, False, True], [False, False, False], [False, True, True]])
    mask = library.from_numpy(visible)
    mean, precision = call(afa.estimate, x, x, x, sde, mask=mask, causal=False)
    weights = call(afa.attention_weights, x, x, x, sde, mask=mask, causal=False)
    assert not library.to_numpy(mean)[1].any()
    assert library.to_numpy(mean)[[0, 2]].all()
    for each in (*leaves(precision), *leaves(weights)):
        assert not library.to_numpy(each)[1].any()
        assert (library.to_numpy(each)[[0, 2]] >= 0).all()


def test_more_queries_than_keys(library, call):
    """The queries are the last of the tokens, so the first ones come before every key."""
    sde, query, key = models(library)["isotropic"], normal(library, 5, 4), normal(library, 3, 4)
    result = library.to_numpy(call(afa.attention, query, key, key, sde))
    assert not result[:2].any()
    np.testing.assert_allclose(result[2], library.to_numpy(key)[0], rtol=1e-12)
