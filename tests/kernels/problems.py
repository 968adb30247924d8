"""Problems of every kind that kernels take, and their solutions over tiles in NumPy."""

import numpy as np
from array_api_compat import numpy as xp

import afa_core as afa
from afa_core._checks.arguments import collect_arguments
from afa_core.attention import prepare
from afa_core.streaming.attention import Streamed
from afa_core.streaming.backward.run import backward
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.run import forward
from afa_core.streaming.operands import Operands
from afa_numpy.streaming import ENGINE, OPERATIONS

HEADS, MODES, VALUE_MODES = 3, 3, 2
SIZES = Sizes(16, 16)
WIDE = {"query_times", "key_times", "query_level", "key_level", "missing"}
CASES = {
    "default": {},
    "acausal": {"causal": False},
    "gaussian": {"weighting": afa.Gaussian()},
    "uniform": {"weighting": afa.Uniform()},
    "rational": {"weighting": afa.Rational(2.0)},
    "logarithms": {"weighting": afa.StudentT(2.5)},
    "temperature": {"inverse_temperature": 0.7},
    "uniform of a temperature": {"weighting": afa.Uniform(), "inverse_temperature": 0.7},
    "irregular": {"times": "in order"},
    "irregular logarithms": {"times": "in order", "weighting": afa.Rational(2.0)},
    "unordered": {"times": "unordered", "causal": False},
    "correlated": {"correlated": True},
    "correlated uniform": {"correlated": True, "weighting": afa.Uniform()},
    "correlated logarithms": {"correlated": True, "weighting": afa.StudentT(2.5)},
    "smoother": {"correlated": True, "causal": False, "times": "in order"},
    "regular smoother": {"correlated": True, "causal": False},
    "smoother of a temperature": {"correlated": True, "causal": False, "inverse_temperature": 2.0},
    "forgetting": {"correlated": True, "times": "in order", "process": 30.0},
    "masked": {"mask": "shared", "causal": False},
    "masked in order": {"mask": "pairs", "weighting": afa.Gaussian()},
    "masked keys": {"mask": "keys", "correlated": True},
    "variances of queries": {"variances": True},
    "out of range": {"measurement": 1e-60},
}
SHAPES = {
    "default": (40, 20),
    "acausal": (5, 40),
    "irregular": (5, 40),
    "smoother": (40, 20),
    "correlated": (5, 40),
    "forgetting": (44, 78),
}
"""Numbers of queries and keys that differ."""


def streamed(
    case, queries, keys, modes=MODES, value_modes=VALUE_MODES, *, form="isotropic", **others
):
    """Return the operands of a problem in double precision, and what is known of it."""
    rng, options = np.random.default_rng(0), CASES[case] | others
    shapes = (queries, modes), (keys, modes), (keys, value_modes)
    tokens = [rng.standard_normal((HEADS, n, 2 * d)) for n, d in shapes]
    sde = sde_of(rng, options, modes, value_modes, form)
    times = options.pop("times", "regular")
    if times == "in order":
        every = np.cumsum(rng.exponential(size=max(queries, keys)) // 0.5)
        options |= {"query_times": every[-queries:], "key_times": every[-keys:]}
    if times == "unordered":
        options |= {"query_times": rng.uniform(0.0, 9.0, queries)}
        options |= {"key_times": rng.uniform(0.0, 9.0, keys)}
    if mask := options.pop("mask", None):
        leading = {"pairs": (HEADS, queries), "shared": (queries,), "keys": (1, 1)}[mask]
        seen = rng.random((*leading, keys)) < 0.5
        options["mask"] = seen | (np.arange(keys) == 0) if mask == "shared" else seen
    if options.pop("variances", False):
        variance = rng.uniform(0.1, 2.0, queries)
        if form == "radial-tangential":
            variance = afa.RadialTangential(variance, 0.5 * variance)
        options["query_variance"] = variance
    options |= {"tolerance": 0.0} if "correlated" in options else {}
    problem, _ = prepare(collect_arguments(*tokens, sde, options))
    operands, static, *_ = Streamed.of(problem, ENGINE, None, xp=xp)
    return operands, static


def sde_of(rng, options, modes, value_modes, form):
    """Return the dynamics of heads that forget slowly and fast, without their options."""
    process = options.pop("process", 1.0) * np.asarray([0.1, 0.02, 0.3])
    noise = afa.Noise(process, options.pop("measurement", 0.5), 0.3)
    if noise.measurement < 0.1:
        noise = noise._replace(query=np.asarray([0.3, 0.0, 0.0]))
    decay, frequency = np.asarray([1e-4, 0.01, 0.5]), rng.uniform(0.1, 1.0, modes)
    value_frequency = rng.uniform(0.1, 1.0, value_modes)
    if form == "isotropic":
        return afa.IsotropicSDE(decay, frequency, noise, value_frequency)
    across = afa.Noise(0.01, 0.5, 0.1)  # which is remembered longer
    return afa.RadialTangentialSDE(decay, frequency, noise, across, value_frequency)


def results_of(operands, static):
    """Return the estimates of tiles."""
    ops = OPERATIONS._replace(buffers={})
    return forward(operands, static, SIZES, ops, return_precision=True, xp=xp)


def solution_of(operands, static):
    """Return the mean and the precision, gradients in both, and those in all operands."""
    result, rng = results_of(operands, static), np.random.default_rng(1)
    given = [rng.standard_normal(x.shape) for x in result[:2]]
    ops = OPERATIONS._replace(buffers={})
    with np.errstate(divide="ignore", invalid="ignore"):  # where a query has no keys
        grads = backward(operands, static, SIZES, ops, result, *given, xp=xp)
    return result[:2], given, grads


def in_single_precision(operands):
    """Return operands as kernels get them, times and levels in the widest dtype."""
    pairs = zip(Operands._fields, operands, strict=True)
    return Operands(*(x if name in WIDE else x.astype(np.float32) for name, x in pairs))


def assert_gradients(found, right, static, most):
    """Compare gradients in all operands, relative to the largest of each and of all."""
    largest = max(float(abs(x).max()) for x in right if x.size)
    for name, x, y in zip(Operands._fields, map(np.asarray, found), right, strict=True):
        assert x.shape == y.shape
        # a known exponent is a number, and so are places in a sequence
        number = static.power > 1 if name == "dof" else "times" in name and static.regular
        if x.size and not number:
            scale = float(abs(y).max()) + 1e-3 * largest
            assert float(abs(x - y).max()) < most * scale, name
