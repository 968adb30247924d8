"""Operands of problems of every kind that kernels take."""

import numpy as np

import afa_core as afa
from afa_core._checks.arguments import collect_arguments
from afa_core.attention import prepare
from afa_core.streaming.attention import Streamed
from afa_core.streaming.operands import Operands
from afa_jax.engine import ENGINE

HEADS, MODES, VALUE_MODES = 3, 3, 2
CASES = {
    "default": ((37, 37), {}),
    "fewer keys": (
        (40, 20),
        {"weighting": afa.Rational(2.0), "causal": False, "variances": True, "irregular": True},
    ),
    "fewer queries": ((5, 40), {"weighting": afa.StudentT(2.5), "inverse_temperature": 0.7}),
    "irregular": ((37, 37), {"irregular": True}),
    "shuffled": (
        (37, 37),
        {
            "weighting": afa.Gaussian(),
            "causal": False,
            "irregular": True,
            "shuffled": True,
            "masked": "pairs",
        },
    ),
    "keys masked": ((37, 37), {"weighting": afa.Uniform(), "causal": False, "masked": "keys"}),
    "correlated": ((37, 37), {"correlated": True}),
    "smoother": ((40, 20), {"correlated": True, "causal": False}),
    "smoother of a temperature": (
        (37, 37),
        {"correlated": True, "causal": False, "irregular": True, "inverse_temperature": 2.0},
    ),
    "forgetting": ((44, 78), {"correlated": True, "irregular": True, "process": 30.0}),
    "correlated and uniform": ((37, 37), {"correlated": True, "weighting": afa.Uniform()}),
}
"""Numbers of queries and keys, and options."""


def streamed(jax, case, size=None):
    """Return the operands of a problem in double precision, and what is known of it."""
    jnp, rng = jax.numpy, np.random.default_rng(0)
    (queries, keys), options = CASES[case]
    (queries, keys), options = size or (queries, keys), dict(options)
    shapes = (queries, MODES), (keys, MODES), (keys, VALUE_MODES)
    tokens = [jnp.asarray(rng.standard_normal((HEADS, n, 2 * d))) for n, d in shapes]
    if options.pop("irregular", False):
        times = np.cumsum(rng.exponential(size=max(queries, keys)) // 0.5)
        if options.pop("shuffled", False):
            times = rng.permutation(times)
        options |= {"query_times": jnp.asarray(times[-queries:])}
        options |= {"key_times": jnp.asarray(times[-keys:])}
    if masked := options.pop("masked", False):
        seen = rng.random((1 if masked == "keys" else queries, keys)) < 0.5
        options["mask"] = jnp.asarray(seen | (np.arange(keys) == 0))
    if options.pop("variances", False):
        options["query_variance"] = jnp.asarray(rng.uniform(0.1, 2.0, queries))
    decay, process = (jnp.asarray(x) for x in ([1e-4, 0.01, 0.5], [0.1, 0.02, 0.3]))
    noise = afa.Noise(options.pop("process", 1.0) * process, 0.5, 0.3)
    frequency, value_frequency = jnp.asarray([0.1, 1.0, 0.3]), jnp.asarray([0.2, 0.5])
    sde = afa.IsotropicSDE(decay, frequency, noise, value_frequency)
    options |= {"tolerance": 0.0} if "correlated" in options else {}
    problem, _ = prepare(collect_arguments(*tokens, sde, options))
    operands, static, *_ = Streamed.of(problem, ENGINE, None, xp=jnp)
    return operands, static


def in_single_precision(operands):
    """Return operands as kernels get them where JAX has double precision."""
    wide = {"query_times", "key_times", "query_level", "key_level", "missing"}
    pairs = zip(Operands._fields, operands, strict=True)
    return Operands(*(x if name in wide else x.astype("float32") for name, x in pairs))
