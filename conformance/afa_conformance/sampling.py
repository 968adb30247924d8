"""From a description to its numbers: complex modes in double precision, made by NumPy."""

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
    RadialTangentialSDE,
    Rational,
    StudentT,
    Uniform,
)

TICK = 2.0**-10
"""Times are multiples of it, so that differences of times are exact."""
FAR = 1e9


def sample_problem(description: Description) -> DrawnProblem:
    """Return the problem of a description: the same numbers on every machine."""
    it = _consistent(description)
    rng = np.random.default_rng(it.seed)
    n, m, d, dv = it.queries, it.keys, it.modes, it.value_modes
    data = it.leading
    shared = (*it.leading[:-1], 1) if it.leading and it.sharing == "keys" else it.leading
    own = () if it.sharing in ("parameters", "numbers") else it.leading
    own = it.leading[-1:] if it.sharing == "heads" else own
    numbers = it.sharing == "numbers"
    sde = _sde(it, rng, own, numbers=numbers)
    query_times, key_times = _times(it, rng)
    problem = DrawnProblem(
        query=complex_normal(rng, (*data, n, d)),
        key=complex_normal(rng, (*shared, m, d)),
        value=complex_normal(rng, (*shared, m, dv)),
        sde=sde,
        weighting=_weighting(it, rng, own, numbers=numbers),
        inverse_temperature=_temperature(it, rng, own),
        query_times=query_times,
        key_times=key_times,
        causal=it.causal,
        mask=_mask(it, rng),
        anchor=complex_normal(rng, (*data, n, dv)) if it.anchored else None,
        layout=it.layout,
        description=description,
    )
    return rounded(scaled(problem, it.size), it.dtype)


SIZES = {
    "float64": {"tiny": 1e-60, "huge": 1e60},
    "float32": {"tiny": 1e-8, "huge": 1e8},
    "float16": {"tiny": 1e-1, "huge": 1e1},
    "bfloat16": {"tiny": 1e-8, "huge": 1e8},
}
DISTANT = 30.0


def scaled(problem: DrawnProblem, size: str) -> DrawnProblem:
    """Change the unit of values, or take queries and keys far from each other."""
    if size == "ordinary":
        return problem
    if size == "distant":
        return replace(problem, query=DISTANT * problem.query, key=DISTANT * problem.key)
    unit = SIZES[problem.dtype][size]
    noises = {name: x * unit**2 for name, x in leaves(problem).items() if "noise" in name}
    tokens = {name: unit * x for name, x in leaves(problem).items() if name in TOKENS}
    return with_leaves(problem, noises | tokens)


def rounded(problem: DrawnProblem, dtype: str) -> DrawnProblem:
    """Return the problem whose numbers, but times, are exact in a dtype, still in double."""
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


def _consistent(it: Description) -> Description:
    """Settle fields that do not go together, so that every description can be realised."""
    changes: dict[str, Any] = {}
    if it.form == "diagonal":
        changes["value_modes"] = it.modes
    elif it.value_modes != it.modes and it.rotation == "shared" and it.sharing != "numbers":
        changes["rotation"] = "own"
    if it.form != "radial_tangential":
        changes["anchored"] = False
    elif it.queries != it.keys:
        changes["anchored"] = True
    if it.noise == "no process" and it.decay == "stiff":
        changes["noise"] = "ordinary"
    return replace(it, **changes)


def _sde(it: Description, rng: np.random.Generator, own: tuple[int, ...], *, numbers: bool) -> Any:
    per_mode = (*own, it.modes) if it.form == "diagonal" else own

    def uniform(low: float, high: float, shape: tuple[int, ...] = per_mode) -> Any:
        return float(rng.uniform(low, high)) if numbers else rng.uniform(low, high, shape)

    match it.decay:
        case "zero":
            decay = uniform(0.0, 0.0)
        case "slow":
            decay = 10.0 ** uniform(-12.0, -4.0)
        case "stiff":
            decay = uniform(5.0, 60.0)
        case _:
            decay = uniform(0.05, 0.6)

    def noise() -> Noise:
        scale = 2.0 * decay if it.decay == "stiff" else 1.0
        process = 0.0 if it.noise == "no process" else 1.0
        measurement = 0.0 if it.noise == "no measurement" else 1.0
        query = 0.0 if it.noise == "no query" else 1.0
        return Noise(
            process * scale * uniform(0.3, 1.5),
            measurement * uniform(0.3, 1.5),
            query * uniform(0.3, 1.5),
        )

    frequency = uniform(-1.0, 1.0, (*own, it.modes))
    if it.form == "diagonal":
        return DiagonalSDE(decay, frequency, noise())
    turns = None if it.rotation == "shared" else 0.0
    if it.rotation == "own":
        turns = uniform(-1.0, 1.0, (*own, it.value_modes))
    if it.form == "isotropic":
        return IsotropicSDE(decay, frequency, noise(), turns)
    return RadialTangentialSDE(decay, frequency, noise(), noise(), turns)


def _weighting(
    it: Description, rng: np.random.Generator, own: tuple[int, ...], *, numbers: bool
) -> Any:
    dof: Number = float(rng.uniform(1.0, 8.0)) if numbers else rng.uniform(1.0, 8.0, own)
    if np.all(np.modf(dof)[0] < 0.5):  # a weight may be an integer power, if that is known
        dof = float(np.round(np.mean(dof)))
    match it.weighting:
        case "gaussian":
            return Gaussian()
        case "uniform":
            return Uniform()
        case "rational":
            return Rational(dof)
        case _:
            return StudentT(dof)


def _temperature(it: Description, rng: np.random.Generator, own: tuple[int, ...]) -> Number:
    if it.temperature == "one":
        return 1.0
    return rng.uniform(0.3, 2.0, own) if it.temperature == "array" else float(rng.uniform(0.3, 2.0))


def _times(it: Description, rng: np.random.Generator) -> tuple[Any, Any]:
    n, m = it.queries, it.keys
    if it.times == "default":
        return None, None
    total = max(n, m)
    shape = (it.leading[0], *(1,) * (len(it.leading) - 1)) if it.leading else ()
    late = np.zeros(n, dtype=int)  # how much a query comes after its own token
    match it.times:
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
    if it.times == "integers":
        return query_times, key_times
    start = FAR if it.times == "far" else 0.0
    return query_times * TICK + start, key_times * TICK + start


def _mask(it: Description, rng: np.random.Generator) -> Any:
    if not it.masked:
        return None
    shape = (*it.leading[-1:], it.queries, it.keys)
    mask = rng.uniform(size=shape) < 0.7
    if it.queries > 1:
        mask[..., 0, :] = False
    if it.keys > 1:
        mask[..., -1] = False
    return mask
