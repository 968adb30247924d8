"""Kernels of Triton, interpreted on a CPU, against attention over tiles in double precision."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

import afa_core as afa  # noqa: E402
from afa_core.streaming.operands import Operands  # noqa: E402
from afa_torch.triton import radial_tangential_run, run, splits  # noqa: E402

from .. import problems  # noqa: E402

pytestmark = pytest.mark.skipif(
    type(triton.language.sum).__name__ != "InterpretedFunction",
    reason="Triton was imported before its interpreter was asked for",
)
ISOTROPIC = (
    "default",
    "acausal",
    "gaussian",
    "uniform",
    "rational",
    "logarithms",
    "temperature",
    "irregular",
    "correlated",
    "smoother",
    "smoother of a temperature",
    "forgetting",
    "masked",
    "variances of queries",
)
COMPONENTS = (
    "default",
    "logarithms",
    "gaussian",
    "irregular",
    "smoother",
    "forgetting",
    "smoother of a temperature",
    "masked",
    "variances of queries",
)
CASES = [
    *((name, "isotropic") for name in ISOTROPIC),
    *((name, "radial-tangential") for name in COMPONENTS),
]
"""Problems and forms."""


def in_tensors(static):
    """Return what is known of a problem with its mask as a tensor."""
    mask = static.visibility.mask
    mask = None if mask is None else torch.from_numpy(mask)
    return static._replace(visibility=static.visibility._replace(mask=mask))


def tensors_of(operands):
    """Return operands as kernels get them."""
    own = problems.in_single_precision(operands)
    return Operands(*(torch.from_numpy(np.array(x, order="C")) for x in own))


def launches(static):
    return run if static.form is afa.IsotropicSDE else radial_tangential_run


def assert_results(found, expected):
    for x, y in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)


SHAPES = [(name, "isotropic", size) for name, size in problems.SHAPES.items()]


@pytest.mark.parametrize(
    ("case", "form", "size"), [*((*case, (37, 37)) for case in CASES), *SHAPES]
)
def test_results_and_gradients(case, form, size):
    operands, static = problems.streamed(case, *size, form=form)
    expected, given, right = problems.solution_of(operands, static)
    run, own, known = launches(static), tensors_of(operands), in_tensors(static)
    found = run.forward(own, known, 16)
    assert_results(found, expected)
    given = map(torch.from_numpy, given)
    grads = run.backward(own, known, 16, list(found[:4]), *given)
    problems.assert_gradients(grads, right, static, 2e-5)


@pytest.mark.parametrize(
    ("case", "form"),
    [
        ("correlated", "isotropic"),
        ("regular smoother", "isotropic"),
        ("regular smoother", "radial-tangential"),
    ],
)
def test_early_exit(case, form):
    operands, static = problems.streamed(case, 100, 100, form=form)
    operands, run = tensors_of(operands), launches(static)
    all_pairs = run.forward(operands, static, 16)
    found = run.forward(operands, static._replace(tolerance=1e-3), 16)
    visited, every = (x.limits.diff(dim=-1).sum((1, 2)) for x in (found, all_pairs))
    assert torch.any(visited < every)
    shares = (found[0] - all_pairs[0]).abs() / operands.value.abs().amax()
    assert float(shares.max()) < 2e-4
    given = [torch.ones_like(x) for x in found[:2]]
    right = run.backward(operands, static, 16, list(all_pairs[:4]), *given)
    grads = run.backward(operands, static._replace(tolerance=1e-3), 16, list(found[:4]), *given)
    for name, x, y in zip(Operands._fields, grads, right, strict=True):
        if x.numel():
            assert float((x - y).abs().max()) <= 1e-3 * float(y.abs().max()) + 1e-6, name


def test_every_key_is_visited_in_any_order_of_times():
    """Times of arrays are not looked at, and keys far away in a sequence may be near in time."""
    operands, static = problems.streamed("smoother", 100, 100)
    operands, run = tensors_of(operands), launches(static)
    found = run.forward(operands, static._replace(tolerance=1e-3), 16)
    all_pairs = run.forward(operands, static, 16)
    assert torch.equal(found.limits, all_pairs.limits)


def test_why_every_key_is_visited():
    tokens, times = torch.zeros((2000, 4)), torch.arange(2000.0)
    sde = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.1, 1.0, 1.0))
    arrays = {"query_times": times, "key_times": times}
    cases = [
        ({}, ""),
        (arrays, ""),
        ({"causal": False}, ""),
        ({"causal": False} | arrays, "unless `causal`"),
        ({"inverse_temperature": torch.ones(())}, "the number 1"),
    ]
    for options, reason in cases:
        found = afa.explain(
            tokens, tokens, tokens, sde, correlated=True, implementation="triton", **options
        )
        assert reason in found.early_exit
        assert bool(reason) == bool(found.early_exit)


def test_interpreted_kernels_are_not_chosen():
    tokens = torch.zeros((2000, 4))
    sde = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.1, 1.0, 1.0))
    found = afa.explain(tokens, tokens, tokens, sde)
    assert found.chosen != "triton"
    kernels = afa.explain(tokens, tokens, tokens, sde, implementation="triton")
    assert kernels.chosen == "triton"


def test_refusals():
    tokens = torch.zeros((8, 4))
    noise = afa.Noise(0.1, 1.0, 1.0)
    diagonal = afa.DiagonalSDE(torch.ones(2), torch.ones(2), noise)
    wide = torch.zeros((8, 258))
    cases = [
        (tokens, diagonal, "not a DiagonalSDE"),
        (tokens.double(), afa.IsotropicSDE(0.1, 0.3, noise), "not in double"),
        (wide, afa.IsotropicSDE(0.1, 0.3, noise), "at most 128 modes, not 129"),
    ]
    for given, sde, reason in cases:
        with pytest.raises(ValueError, match=reason):
            afa.attention(given, given, given, sde, implementation="triton")


@pytest.mark.parametrize(
    ("case", "form"),
    [
        *((name, "isotropic") for name in ("default", "logarithms", "irregular", "smoother")),
        *((name, "isotropic") for name in ("uniform", "smoother of a temperature", "masked")),
        *((name, "radial-tangential") for name in ("default", "logarithms", "forgetting")),
    ],
)
def test_shares_of_keys(case, form, monkeypatch):
    monkeypatch.setattr(splits, "multiprocessors", lambda device: 64)
    monkeypatch.setattr(splits, "FEWEST_TILES", 1)
    size = (3, 101) if form == "isotropic" else (37, 37)
    operands, static = problems.streamed(case, *size, form=form)
    found = launches(static).forward(tensors_of(operands), in_tensors(static), 16)
    assert_results(found, problems.results_of(operands, static))


@pytest.mark.parametrize("shape", [(2, 0), (2, 5), (0, 5)])
@pytest.mark.parametrize("keys", [0, 5])
def test_no_heads_queries_or_keys(shape, keys):
    query = torch.ones((*shape, 4), requires_grad=True)
    key = torch.ones((shape[0], keys, 4), requires_grad=True)
    sde = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.1, 1.0, 1.0))
    options = {"causal": False, "implementation": "triton"}
    mean = afa.attention(query, key, key, sde, **options)
    assert mean.shape == query.shape
    for x in torch.autograd.grad(mean.sum(), (query, key)):
        assert bool(x.isfinite().all())
