"""Small descriptions of problems, and the NumPy arrays that a description stands for.

Hypothesis draws a `Description` and shrinks it; `realise` makes its numbers from the seed, in
double precision and as complex modes. A failing law prints the description, one line that
reproduces the problem.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

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

FORMS = ("isotropic", "diagonal", "radial_tangential")
WEIGHTINGS = ("student", "gaussian", "rational", "uniform")
TICK = 2.0**-10
"""Times are multiples of it, so that differences of times are exact."""
DEFAULT_WEIGHTING = StudentT(4.0)

Number: TypeAlias = Any
"""A float, or an array of any library (a law may also put 50-digit numbers here)."""


@dataclass(frozen=True)
class Description:
    """What a problem is like; with the seed it determines every number.

    Parameters
    ----------
    form : {"isotropic", "diagonal", "radial_tangential"}
    queries, keys, modes, value_modes : int
    leading : tuple of int
        Batch and heads.
    sharing : {"each", "keys", "parameters", "numbers"}
        Every leading index has everything of its own; or a group of queries shares its keys;
        or all share the parameters; or the parameters are Python numbers.
    decay : {"ordinary", "zero", "slow", "stiff"}
    noise : {"ordinary", "no process", "no measurement", "no query"}
    times : {"default", "regular", "irregular", "tied", "integers"}
    causal, masked, anchored : bool
        A mask hides about a third of the pairs, the last of several keys from all queries, and
        all keys from the first of several queries.
    weighting : {"student", "gaussian", "rational", "uniform"}
    temperature : {"one", "number", "array"}
    rotation : {"shared", "own", "off"}
        Whether values turn at the frequencies of keys, at their own, or not at all.
    layout : {"complex", "interleaved", "halves"}
    seed : int
    """

    form: str = "isotropic"
    queries: int = 3
    keys: int = 3
    modes: int = 2
    value_modes: int = 2
    leading: tuple[int, ...] = ()
    sharing: str = "each"
    decay: str = "ordinary"
    noise: str = "ordinary"
    times: str = "default"
    causal: bool = True
    masked: bool = False
    anchored: bool = False
    weighting: str = "student"
    temperature: str = "one"
    rotation: str = "shared"
    layout: str = "complex"
    seed: int = 0

    def __repr__(self) -> str:
        changed = (
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        )
        return f"Description({', '.join(changed)})"


CHOICES: dict[str, tuple[Any, ...]] = {
    "form": FORMS,
    "leading": ((), (2,), (3,), (2, 3)),
    "sharing": ("each", "keys", "parameters", "numbers"),
    "decay": ("ordinary", "zero", "slow", "stiff"),
    "noise": ("ordinary", "no process", "no measurement", "no query"),
    "times": ("default", "regular", "irregular", "tied", "integers"),
    "causal": (True, False),
    "masked": (False, True),
    "anchored": (False, True),
    "weighting": WEIGHTINGS,
    "temperature": ("one", "number", "array"),
    "rotation": ("shared", "own", "off"),
    "layout": ("complex", "interleaved", "halves"),
}
SIZES = ((3, 3), (1, 1), (2, 2), (1, 4), (3, 5), (4, 2))
MODES = ((2, 2), (1, 1), (3, 3), (2, 1), (3, 2))


@st.composite
def descriptions(draw: st.DrawFn, /, **given: Any) -> Description:
    """Draw a description; a keyword fixes a field to a value, or to one of several (a list)."""

    def field(name: str) -> Any:
        choice = given.get(name, list(CHOICES[name]))
        return draw(st.sampled_from(choice)) if isinstance(choice, list) else choice

    sizes = draw(st.sampled_from(SIZES))
    modes = draw(st.sampled_from(MODES))
    chosen: dict[str, Any] = {name: field(name) for name in CHOICES}
    chosen |= {"queries": sizes[0], "keys": sizes[1], "modes": modes[0], "value_modes": modes[1]}
    chosen |= {name: field(name) for name in given if name not in CHOICES}
    chosen.setdefault("seed", draw(st.integers(0, 2**32 - 1)))
    if "queries" in given and "keys" not in given:
        chosen["keys"] = chosen["queries"]
    return Description(**chosen)


@dataclass(frozen=True)
class Problem:
    """The arguments of attention: complex modes and parameters as NumPy arrays and numbers.

    The same fields carry other arrays once `sending.send` has moved them to a backend, and
    50-digit numbers where an oracle differentiates.
    """

    query: Any
    key: Any
    value: Any
    sde: Any
    weighting: Any = DEFAULT_WEIGHTING
    inverse_temperature: Number = 1.0
    query_times: Any = None
    key_times: Any = None
    causal: bool = True
    mask: Any = None
    anchor: Any = None
    layout: str = "complex"
    description: Description | None = None

    def __repr__(self) -> str:
        return f"realise({self.description!r})"

    @property
    def modes(self) -> int:
        """Number d of complex modes of queries and keys."""
        return int(self.query.shape[-1])

    @property
    def leading(self) -> tuple[int, ...]:
        """Batch and heads that all arguments broadcast to."""
        tokens = [x for x in (self.query, self.key, self.value, self.anchor) if x is not None]
        shapes = [x.shape[:-2] for x in tokens]
        shapes += [x.shape[:-1] for x in (self.query_times, self.key_times) if x is not None]
        shapes += [] if self.mask is None else [self.mask.shape[:-2]]
        for name, x in leaves(self).items():
            if "." in name or name == "inverse_temperature":
                shapes.append(_parameter_shape(self, name, np.asarray(x)))
        return np.broadcast_shapes(*shapes)


def realise(description: Description) -> Problem:
    """Return the problem of a description: the same numbers on every machine."""
    it = _consistent(description)
    rng = np.random.default_rng(it.seed)
    n, m, d, dv = it.queries, it.keys, it.modes, it.value_modes
    data = it.leading
    shared = (*it.leading[:-1], 1) if it.leading and it.sharing == "keys" else it.leading
    own = () if it.sharing in ("parameters", "numbers") else it.leading
    numbers = it.sharing == "numbers"
    sde = _sde(it, rng, own, numbers=numbers)
    query_times, key_times = _times(it, rng)
    return Problem(
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


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Draw circular complex normal numbers, E|z|² = 1."""
    return np.asarray((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2.0))


def leaves(problem: Problem) -> dict[str, Any]:
    """Return the numerical arguments under dotted names, ``"sde.noise.process"``; no None."""
    found: dict[str, Any] = {}

    def visit(name: str, x: Any) -> None:
        if isinstance(x, tuple) and hasattr(x, "_asdict"):
            for field, each in x._asdict().items():
                visit(f"{name}.{field}", each)
        elif x is not None:
            found[name] = x

    for each in fields(problem):
        if each.name not in ("causal", "layout", "description"):
            visit(each.name, getattr(problem, each.name))
    return found


def with_leaves(problem: Problem, changes: dict[str, Any]) -> Problem:
    """Return the problem with some of its `leaves` replaced."""

    def visit(name: str, x: Any) -> Any:
        if isinstance(x, tuple) and hasattr(x, "_asdict"):
            return type(x)(*(visit(f"{name}.{field}", each) for field, each in x._asdict().items()))
        return changes.get(name, x)

    parts = {each.name: visit(each.name, getattr(problem, each.name)) for each in fields(problem)}
    return replace(problem, **parts)


def completed(problem: Problem) -> Problem:
    """Return the problem with its defaults filled in: times, anchor, the value's frequencies."""
    n, m = problem.query.shape[-2], problem.key.shape[-2]
    changes: dict[str, Any] = {}
    if problem.key_times is None:
        changes["key_times"] = np.arange(m, dtype=np.float64)
        changes["query_times"] = np.arange(m - n, m, dtype=np.float64)
    if isinstance(problem.sde, RadialTangentialSDE) and problem.anchor is None:
        changes["anchor"] = problem.value
    if not isinstance(problem.sde, DiagonalSDE) and problem.sde.value_frequency is None:
        changes["sde"] = problem.sde._replace(value_frequency=problem.sde.frequency)
    return replace(problem, **changes)


def visible(problem: Problem) -> NDArray[np.bool_]:
    """Return which query may see which key, spec §8.4: (..., n, m)."""
    n, m = problem.query.shape[-2], problem.key.shape[-2]
    seen = np.ones((n, m), dtype=bool)
    if problem.causal:
        seen = np.arange(m)[None, :] <= np.arange(m - n, m)[:, None]
    return seen if problem.mask is None else seen & problem.mask


def alone(problem: Problem, index: tuple[int, ...]) -> Problem:
    """Return the problem at one index of its leading axes, without any leading axes."""
    leading = problem.leading

    def take(x: Any, core: int) -> Any:
        x = np.asarray(x)
        core = min(core, x.ndim)
        return np.broadcast_to(x, (*leading, *x.shape[x.ndim - core :]))[index]

    changes: dict[str, Any] = {}
    for name, x in leaves(problem).items():
        if name in ("query", "key", "value", "anchor", "mask"):
            changes[name] = take(x, 2)
        elif name.endswith("_times"):
            changes[name] = take(x, 1)
        elif not isinstance(x, float):
            changes[name] = take(x, int(_per_mode(problem, name)))
    return with_leaves(problem, changes)


def condition(problem: Problem) -> float:
    """Bound how far a relative rounding of the inputs can move the output, relative to it.

    1 + β·(slope of log w in m/d)·(‖q‖ + ‖k‖)²/(d Σ)·(1 + largest angle ωt): the expanded
    residual cancels numbers of size (‖q‖ + ‖k‖)², whose phases carry ωt roundings.
    """
    p = completed(problem)
    numbers = {name: np.asarray(x) for name, x in leaves(p).items()}
    largest = {name: float(np.max(np.abs(x), initial=0.0)) for name, x in numbers.items()}
    slope = {Uniform: 0.0, Gaussian: 1.0}.get(type(p.weighting), 0.0)
    if isinstance(p.weighting, Rational | StudentT):
        power = 1.0 if isinstance(p.weighting, StudentT) else 0.0
        slope = float(np.max(power + 1.0 / np.asarray(p.weighting.dof, dtype=float)))
    lag = np.abs(p.query_times[..., :, None] - p.key_times[..., None, :])
    smallest = min(_smallest_covariance(p, noise, lag) for noise in _noises(p.sde))
    norm = float(np.max(np.linalg.norm(p.query, axis=-1), initial=0.0))
    norm += float(np.max(np.linalg.norm(p.key, axis=-1), initial=0.0))
    angle = largest["sde.frequency"] * float(np.max(lag, initial=0.0))
    angle += largest.get("sde.value_frequency", 0.0) * float(np.max(lag, initial=0.0))
    beta = max(1.0, largest["inverse_temperature"])
    return (1.0 + beta * (1.0 + slope * norm**2 / (p.modes * smallest))) * (1.0 + angle)


def _noises(sde: Any) -> tuple[Noise, ...]:
    if isinstance(sde, RadialTangentialSDE):
        return sde.radial_noise, sde.tangential_noise
    return (sde.noise,)


def _smallest_covariance(p: Problem, noise: Any, lag: NDArray[Any]) -> float:
    """Σ is monotone in Δ, so it is smallest at the least or at the greatest lag (spec §2)."""
    decay = np.asarray(p.sde.decay, dtype=float)
    ends = []
    for span in (float(np.min(lag, initial=np.inf)), float(np.max(lag, initial=0.0))):
        span = 0.0 if np.isinf(span) else span
        x = 2.0 * decay * span
        phi = np.where(x > 0, -np.expm1(-x) / np.where(x > 0, x, 1.0), 1.0)
        sigma = noise.process * span * phi + noise.measurement * np.exp(-x) + noise.query
        ends.append(float(np.min(sigma)))
    return min(ends)


def _per_mode(problem: Problem, name: str) -> bool:
    return name.endswith("frequency") or (
        name.startswith("sde.") and isinstance(problem.sde, DiagonalSDE)
    )


def _parameter_shape(problem: Problem, name: str, x: NDArray[Any]) -> tuple[int, ...]:
    return x.shape[:-1] if _per_mode(problem, name) else x.shape


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
    dof = float(rng.uniform(1.0, 8.0)) if numbers else rng.uniform(1.0, 8.0, own)
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
    return query_times * TICK, key_times * TICK


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
