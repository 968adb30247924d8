"""Kernels of Triton, interpreted on a CPU, against attention over tiles in double precision."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from array_api_compat import torch as xp  # noqa: E402

import afa_core as afa  # noqa: E402
from afa_core._checks.arguments import collect_arguments  # noqa: E402
from afa_core.attention import prepare  # noqa: E402
from afa_core.streaming.attention import Streamed  # noqa: E402
from afa_core.streaming.backward.run import backward  # noqa: E402
from afa_core.streaming.blocks import Sizes  # noqa: E402
from afa_core.streaming.forward.run import forward  # noqa: E402
from afa_core.streaming.operands import Operands  # noqa: E402
from afa_torch.operations import operations  # noqa: E402
from afa_torch.streaming import ENGINE  # noqa: E402
from afa_torch.triton import radial_tangential_run, run, splits  # noqa: E402

pytestmark = pytest.mark.skipif(
    type(triton.language.sum).__name__ != "InterpretedFunction",
    reason="Triton was imported before its interpreter was asked for",
)
HEADS, MODES, VALUE_MODES = 3, 3, 2
SIZES = Sizes(16, 16)
CASES = {
    "default": {},
    "acausal": {"causal": False},
    "gaussian": {"weighting": afa.Gaussian()},
    "uniform": {"weighting": afa.Uniform()},
    "rational": {"weighting": afa.Rational(2.0)},
    "logarithms": {"weighting": afa.StudentT(2.5)},
    "temperature": {"inverse_temperature": 0.7},
    "irregular": {"irregular": True},
    "correlated": {"correlated": True},
    "smoother": {"correlated": True, "causal": False, "irregular": True},
    "smoother of a temperature": {"correlated": True, "causal": False, "inverse_temperature": 2.0},
    "forgetting": {"correlated": True, "irregular": True, "process": 30.0},
    "masked": {"masked": True, "causal": False},
    "variances of queries": {"variances": True},
}


def streamed(case, queries, keys):
    """Return the operands of a problem in double precision, and what is known of it."""
    rng, options = np.random.default_rng(0), dict(CASES[case])
    shapes = (queries, MODES), (keys, MODES), (keys, VALUE_MODES)
    tokens = [torch.from_numpy(rng.standard_normal((HEADS, n, 2 * d))) for n, d in shapes]
    if options.pop("irregular", False):
        times = torch.from_numpy(np.cumsum(rng.exponential(size=max(queries, keys)) // 0.5))
        options |= {"query_times": times[-queries:], "key_times": times[-keys:]}
    if options.pop("masked", False):
        seen = rng.random((queries, keys)) < 0.5
        options["mask"] = torch.from_numpy(seen | (np.arange(keys) == 0))
    if options.pop("variances", False):
        options["query_variance"] = torch.from_numpy(rng.uniform(0.1, 2.0, queries))
    per_head = [torch.tensor(x, dtype=torch.float64) for x in ([1e-4, 0.01, 0.5], [0.1, 0.02, 0.3])]
    frequency = torch.tensor([0.1, 1.0, 0.3], dtype=torch.float64)
    value_frequency = torch.tensor([0.2, 0.5], dtype=torch.float64)
    decay, process = per_head
    noise = afa.Noise(options.pop("process", 1.0) * process, 0.5, 0.3)
    sde = afa.IsotropicSDE(decay, frequency, noise, value_frequency)
    if options.pop("form", "") == "radial-tangential":
        across = afa.Noise(0.01, 0.5, 0.1)  # which is remembered longer
        sde = afa.RadialTangentialSDE(decay, frequency, noise, across, value_frequency)
        if "query_variance" in options:
            variance = options["query_variance"]
            options["query_variance"] = afa.RadialTangential(variance, 0.5 * variance)
    options |= {"tolerance": 0.0} if "correlated" in options else {}
    problem, _ = prepare(collect_arguments(*tokens, sde, options))
    operands, static, *_ = Streamed.of(problem, ENGINE, None, xp=xp)
    return operands, static


RADIAL_TANGENTIAL = ("default", "logarithms", "gaussian", "irregular", "smoother", "forgetting")
CASES |= {
    f"radial-tangential, {name}": CASES[name] | {"form": "radial-tangential"}
    for name in (*RADIAL_TANGENTIAL, "smoother of a temperature", "masked", "variances of queries")
}


def launches(static):
    return run if static.form is afa.IsotropicSDE else radial_tangential_run


def in_single_precision(operands):
    wide = {"query_times", "key_times", "query_level", "key_level", "missing"}
    pairs = zip(Operands._fields, operands, strict=True)
    return Operands(*(x if name in wide else x.to(torch.float32) for name, x in pairs))


SHAPES = {
    "forgetting": (44, 78),
    "default": (40, 20),
    "irregular": (5, 40),
    "smoother": (40, 20),
    "correlated": (5, 40),
}


@pytest.mark.parametrize(("case", "size"), [*((case, (37, 37)) for case in CASES), *SHAPES.items()])
def test_results_and_gradients(case, size):
    operands, static = streamed(case, *size)
    ops = operations(torch.device("cpu"))
    expected = forward(operands, static, SIZES, ops, return_precision=True, xp=xp)
    run = launches(static)
    found = run.forward(in_single_precision(operands), static, 16)
    for x, y in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1e-5, atol=2e-6)
    rng = np.random.default_rng(1)
    given = [torch.from_numpy(rng.standard_normal(tuple(x.shape))) for x in expected[:2]]
    right = backward(operands, static, SIZES, ops, expected, *given, xp=xp)
    grads = run.backward(in_single_precision(operands), static, 16, list(found[:4]), *given)
    largest = max(float(x.abs().max()) for x in right if x.numel())
    for name, x, y in zip(Operands._fields, grads, right, strict=True):
        assert x.shape == y.shape
        # a known exponent is a number, and so are places in a sequence
        number = static.power > 1 if name == "dof" else "times" in name and static.regular
        if x.numel() and not number:
            scale = float(y.abs().max()) + 1e-3 * largest
            assert float((x.double() - y).abs().max()) < 2e-5 * scale, name


@pytest.mark.parametrize("case", ["correlated", "smoother", "radial-tangential, smoother"])
def test_early_exit(case):
    operands, static = streamed(case, 100, 100)
    operands = in_single_precision(operands)
    run = launches(static)
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


@pytest.mark.parametrize("case", CASES)
def test_shares_of_keys(case, monkeypatch):
    monkeypatch.setattr(splits, "multiprocessors", lambda device: 64)
    monkeypatch.setattr(splits, "FEWEST_TILES", 1)
    operands, static = streamed(case, *((37, 37) if "radial" in case else (3, 101)))
    ops = operations(torch.device("cpu"))
    expected = forward(operands, static, SIZES, ops, return_precision=True, xp=xp)
    found = launches(static).forward(in_single_precision(operands), static, 16)
    for x, y in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1e-5, atol=2e-6)


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
