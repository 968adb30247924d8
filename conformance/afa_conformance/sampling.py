"""Samples the numbers of a description: complex modes in double precision, by NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.descriptions import Description
from afa_conformance.numerics import complex_normal
from afa_conformance.problems import TOKENS, DrawnProblem, Number, leaves, with_leaves
from afa_core import (
    DiagonalSDE,
    Gaussian,
    IsotropicSDE,
    Noise,
    RadialTangential,
    RadialTangentialSDE,
    Rational,
    StudentT,
    Uniform,
)
from afa_core.model.sde import SDE
from afa_core.model.weighting import Weighting

TICK = 2.0**-10
"""Times are multiples of it, so that differences of times are exact."""
FAR = 1e9
"""Where far times begin."""


def sample_problem(description: Description) -> DrawnProblem:
    """Return the problem of a description: the same numbers on every machine."""
    settled = _consistent(description)
    rng = np.random.default_rng(settled.seed)
    n, m, d, dv = settled.queries, settled.keys, settled.modes, settled.value_modes
    leading = settled.leading
    key_leading = (*leading[:-1], 1) if leading and settled.sharing == "keys" else leading
    shape = _parameter_shape(settled)
    sde = _sde(settled, rng, shape)
    query_times, key_times = _times(settled, rng)
    problem = DrawnProblem(
        query=complex_normal(rng, (*leading, n, d)),
        key=complex_normal(rng, (*key_leading, m, d)),
        value=complex_normal(rng, (*key_leading, m, dv)),
        sde=sde,
        weighting=_weighting(settled, rng, shape),
        inverse_temperature=_temperature(settled, rng, shape),
        query_times=query_times,
        key_times=key_times,
        causal=settled.causal,
        mask=_mask(settled, rng),
        anchor=complex_normal(rng, (*leading, n, dv)) if settled.anchored else None,
        layout=settled.layout,
        correlated=settled.correlated,
        query_variance=_query_variance(settled, rng),
        description=description,
    )
    return rounded(scaled(problem, settled.size), settled.dtype)


def _parameter_shape(description: Description) -> tuple[int, ...] | None:
    """Return the leading axes of parameters; None for Python numbers."""
    match description.sharing:
        case "numbers":
            return None
        case "parameters":
            return ()
        case "heads":
            return description.leading[-1:]
        case _:
            return description.leading


UNITS = {
    "float64": {"tiny": 1e-60, "huge": 1e60},
    "float32": {"tiny": 1e-8, "huge": 1e8},
    "float16": {"tiny": 1e-1, "huge": 1e1},
    "bfloat16": {"tiny": 1e-8, "huge": 1e8},
}
DISTANT = 30.0
"""Factor of queries and keys."""


def scaled(problem: DrawnProblem, size: str) -> DrawnProblem:
    """Return the problem in another unit of values, or with queries and keys far apart."""
    if size == "ordinary":
        return problem
    if size == "distant":
        return replace(problem, query=DISTANT * problem.query, key=DISTANT * problem.key)
    unit = UNITS[problem.dtype][size]
    noises = {name: x * unit**2 for name, x in leaves(problem).items() if is_variance(name)}
    tokens = {name: unit * x for name, x in leaves(problem).items() if name in TOKENS}
    return with_leaves(problem, noises | tokens)


def is_variance(name: str) -> bool:
    """Whether a leaf is in units of values², be it over a time or not."""
    return "noise" in name or name.startswith("query_variance")


def rounded(problem: DrawnProblem, dtype: str) -> DrawnProblem:
    """Return the problem with all numbers but times rounded to a dtype, in double precision."""
    if dtype == "float64":
        return problem
    changes: dict[str, Any] = {}
    for name, x in leaves(problem).items():
        if name in TOKENS:
            changes[name] = _round(x.real, dtype) + 1j * _round(x.imag, dtype)
        elif name != "mask" and not name.endswith("_times"):
            number = _round(np.asarray(x), "float32")
            changes[name] = float(number) if isinstance(x, float) else number
    return with_leaves(problem, changes)


def _round(x: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype != "bfloat16":
        return x.astype(dtype).astype(np.float64)
    single = x.astype(np.float32).view(np.uint32)  # bfloat16 is its upper half
    return np.asarray((single & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64))


def _consistent(description: Description) -> Description:
    """Return the description with conflicting fields settled, so that every one is possible."""
    changes: dict[str, Any] = {}
    if description.form == "diagonal":
        changes["value_modes"] = description.modes
    elif (
        description.value_modes != description.modes
        and description.rotation == "shared"
        and description.sharing != "numbers"
    ):
        changes["rotation"] = "own"
    if description.form != "radial_tangential":
        changes["anchored"] = False
    elif description.queries != description.keys:
        changes["anchored"] = True
    if description.noise == "no process" and description.decay == "stiff":
        changes["noise"] = "ordinary"
    if description.correlated:
        # neither keys without noise at one time, nor a stationary state that is exactly zero
        exact = description.noise == "no measurement" and description.times == "tied"
        certain = description.noise == "no process" and not description.causal
        if exact or certain:
            changes["noise"] = "ordinary"
    return replace(description, **changes)


def _sde(
    description: Description, rng: np.random.Generator, leading: tuple[int, ...] | None
) -> SDE:
    form, own = description.form, leading or ()
    per_mode = (*own, description.modes) if form == "diagonal" else own

    def uniform(low: float, high: float, shape: tuple[int, ...] = per_mode) -> Any:
        return float(rng.uniform(low, high)) if leading is None else rng.uniform(low, high, shape)

    match description.decay:
        case "zero":
            decay = uniform(0.0, 0.0)
        case "slow":
            decay = 10.0 ** uniform(-12.0, -4.0)
        case "stiff":
            decay = uniform(5.0, 60.0)
        case _:
            decay = uniform(0.05, 0.6)

    def noise() -> Noise:
        scale = 2.0 * decay if description.decay == "stiff" else 1.0
        process = 0.0 if description.noise == "no process" else 1.0
        measurement = 0.0 if description.noise == "no measurement" else 1.0
        query = 0.0 if description.noise == "no query" else 1.0
        return Noise(
            process * scale * uniform(0.3, 1.5),
            measurement * uniform(0.3, 1.5),
            query * uniform(0.3, 1.5),
        )

    frequency = uniform(-1.0, 1.0, (*own, description.modes))
    if form == "diagonal":
        return DiagonalSDE(decay, frequency, noise())
    value_frequency = None if description.rotation == "shared" else 0.0
    if description.rotation == "own":
        value_frequency = uniform(-1.0, 1.0, (*own, description.value_modes))
    if form == "isotropic":
        return IsotropicSDE(decay, frequency, noise(), value_frequency)
    return RadialTangentialSDE(decay, frequency, noise(), noise(), value_frequency)


def _weighting(
    description: Description, rng: np.random.Generator, leading: tuple[int, ...] | None
) -> Weighting:
    dof: Number = rng.uniform(1.0, 8.0, leading)
    if np.all(np.modf(dof)[0] < 0.5):  # integers too: weights may then be powers
        dof = float(np.round(np.mean(dof)))
    dof = dof if description.dof is None else description.dof
    match description.weighting:
        case "gaussian":
            return Gaussian()
        case "uniform":
            return Uniform()
        case "rational":
            return Rational(dof)
        case _:
            return StudentT(dof)


def _temperature(
    description: Description, rng: np.random.Generator, leading: tuple[int, ...] | None
) -> Number:
    if description.temperature == "one":
        return 1.0
    return rng.uniform(0.3, 2.0, (leading or ()) if description.temperature == "array" else None)


def _times(description: Description, rng: np.random.Generator) -> tuple[Any, Any]:
    n, m = description.queries, description.keys
    if description.times == "default":
        return None, None
    total = max(n, m)
    leading = description.leading
    shape = (leading[0], *(1,) * (len(leading) - 1)) if leading else ()
    late = np.zeros(n, dtype=int)  # from a token to its query
    match description.times:
        case "integers":
            ticks = np.cumsum(rng.integers(1, 4, total)) - 5
        case "regular":
            ticks = 512 * np.arange(total) - 1280
        case "tied":
            gaps = rng.integers(100, 1500, (*shape, total))
            ticks = np.cumsum(gaps * rng.integers(0, 2, gaps.shape), axis=-1) - 700
        case _:
            ticks = np.cumsum(rng.integers(100, 1500, (*shape, total)), axis=-1) - 700
            late = rng.integers(0, 100, (*shape, n))
    query_times, key_times = ticks[..., total - n :] + late, ticks[..., total - m :]
    if description.times == "integers":
        return query_times, key_times
    start = FAR if description.times == "far" else 0.0
    return query_times * TICK + start, key_times * TICK + start


def _mask(description: Description, rng: np.random.Generator) -> Any:
    if not description.masked:
        return None
    shape = (*description.leading[-1:], description.queries, description.keys)
    if description.correlated:
        shape = (*description.leading[-1:], 1, description.keys)
    mask = rng.uniform(size=shape) < 0.7
    if description.queries > 1 and not description.correlated:
        mask[..., 0, :] = False
    if description.keys > 1:
        mask[..., -1] = False
    return mask


def _query_variance(description: Description, rng: np.random.Generator) -> Any:
    if not description.query_variance:
        return None
    shape = (*description.leading, description.queries)
    if description.form == "radial_tangential":
        return RadialTangential(rng.uniform(0.3, 1.5, shape), rng.uniform(0.3, 1.5, shape))
    return rng.uniform(
        0.3, 1.5, (*shape, description.modes) if description.form == "diagonal" else shape
    )
