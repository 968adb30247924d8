"""No batch, no queries, no keys, or a query with no visible key."""

import numpy as np
import pytest

import afa_core as afa

from .problems import FORMS, anchored, forms, leaves, models, normal

SIZES = [((0,), 5, 5), ((2, 0), 600, 600), ((), 0, 600), ((2,), 0, 0), ((2,), 600, 0)]
"""Leading axes, queries and keys, one of them none, on both sides of where tiles begin."""
sizes = pytest.mark.parametrize(("leading", "n", "m"), SIZES)


def problem(backend, form, leading, n, m):
    sde = models(backend)[form]
    query, key = normal(backend, *leading, n, 4), normal(backend, *leading, m, 4)
    return (query, key, key, sde), anchored(sde, query)


def shapes_of(form, leading, n, *rest):
    shape = (*leading, n, *rest, *((2,) if form == "diagonal" else ()))
    return [shape] * (2 if form == "radial-tangential" else 1)


def shapes(*arrays):
    return [tuple(each.shape) for each in arrays]


@forms
@sizes
@pytest.mark.parametrize(
    "options",
    [{}, {"causal": False}, {"correlated": True}, {"implementation": "streaming"}],
    ids=lambda options: next(iter(options), "default"),
)
def test_empty_axes(form, leading, n, m, options, library, call):
    given, anchor = problem(library, form, leading, n, m)
    mean, precision = call(afa.estimate, *given, **anchor, **options)
    assert shapes(mean) == [(*leading, n, 4)]
    assert shapes(*leaves(precision)) == shapes_of(form, leading, n)
    for each in (mean, *leaves(precision)):
        assert str(each.dtype).endswith("float64")
        assert not library.to_numpy(each).any()


@forms
@sizes
def test_weights_over_empty_axes(form, leading, n, m, library, call):
    given, anchor = problem(library, form, leading, n, m)
    weights = call(afa.attention_weights, *given, **anchor)
    assert shapes(*leaves(weights)) == shapes_of(form, leading, n, m)


@sizes
@pytest.mark.parametrize("correlated", [False, True])
def test_windows_over_empty_axes(leading, n, m, correlated, library, call):
    given, _ = problem(library, "isotropic", leading, n, m)
    for weighting in (afa.StudentT(4.0), afa.Uniform()):
        options = {"window": 4, "correlated": correlated, "weighting": weighting}
        result = call(afa.windowed_attention, *given, **options)
        assert shapes(result) == [(*leading, n, 4)]
        assert not library.to_numpy(result).any()
        bound = call(afa.window_error, *given, **options)
        assert shapes(bound) == [leading]


@pytest.mark.parametrize("form", FORMS)
@sizes
def test_gradients_over_empty_axes_are_zero(form, leading, n, m, host):
    torch, backend = pytest.importorskip("torch"), host("torch")
    (*tokens, sde), _ = problem(backend, form, leading, n, m)
    tokens = [each.clone().requires_grad_() for each in tokens]
    for implementation in ("reference", "streaming"):
        options = {"implementation": implementation, **anchored(sde, tokens[0])}
        mean, precision = afa.estimate(*tokens, sde, **options)
        total = mean.sum() + sum(each.sum() for each in leaves(precision))
        for x, grad in zip(tokens, torch.autograd.grad(total, tokens), strict=True):
            assert grad.shape == x.shape
            assert not grad.any()


@pytest.mark.parametrize(("leading", "n", "m"), SIZES[1:3])
def test_empty_axes_compiled(leading, n, m, library):
    (*tokens, sde), _ = problem(library, "isotropic", leading, n, m)
    result = library.compile(lambda *x: afa.attention(*x, sde))(*tokens)
    assert shapes(result) == [(*leading, n, 4)]


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


@pytest.mark.parametrize("implementation", ["reference", "streaming"])
def test_a_mask_without_keys_has_its_leading_axes(library, call, implementation):
    """The results have all leading axes of the arguments, those of the mask too."""
    array = library.from_numpy
    tokens = array(np.ones((1, 3, 4)))
    none = array(np.ones((1, 0, 4)))
    mask = array(np.ones((2, 3, 0), dtype=bool))
    sde = afa.IsotropicSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
    found = call(afa.estimate, tokens, none, none, sde, mask=mask, implementation=implementation)
    assert found.mean.shape == (2, 3, 4)
    assert found.precision.shape == (2, 3)
