"""The arguments of attention as one problem, what follows from them, and how to change them."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from afa_conformance.closeness import SPACING
from afa_conformance.descriptions import Description
from afa_conformance.oracles.covariances import residual_covariance
from afa_core import (
    DiagonalSDE,
    Gaussian,
    Noise,
    RadialTangentialSDE,
    Rational,
    StudentT,
)
from afa_core.model.weighting import Weighting

DEFAULT_WEIGHTING = StudentT(4.0)
TOKENS = ("query", "key", "value", "anchor")

Number: TypeAlias = Any
"""A float, or an array of any library, or a 50-digit number where an oracle differentiates."""


@dataclass(frozen=True)
class DrawnProblem:
    """The arguments of attention, as drawn: complex modes and parameters in NumPy.

    After `runner.send` the same fields hold arrays of another library; where an oracle
    differentiates they hold 50-digit numbers.
    """

    query: Any
    key: Any
    value: Any
    sde: Any
    weighting: Weighting = DEFAULT_WEIGHTING
    inverse_temperature: Number = 1.0
    query_times: Any = None
    key_times: Any = None
    causal: bool = True
    mask: Any = None
    anchor: Any = None
    layout: str = "complex"
    correlated: bool = False
    query_variance: Any = None
    tolerance: float | None = None
    description: Description | None = None

    def __repr__(self) -> str:
        return f"sample_problem({self.description!r})"

    @property
    def dtype(self) -> str:
        """Dtype of tokens in which it is sent."""
        return "float64" if self.description is None else self.description.dtype

    @property
    def eps(self) -> float:
        """Spacing of the dtype of tokens at 1."""
        return SPACING[self.dtype]

    @property
    def modes(self) -> int:
        """Number d of complex modes of queries and keys."""
        return int(self.query.shape[-1])

    @property
    def value_modes(self) -> int:
        """Number d_v of complex modes of values."""
        return int(self.value.shape[-1])

    @property
    def leading(self) -> tuple[int, ...]:
        """Batch and heads that all arguments broadcast to."""
        shapes = []
        for name, x in leaves(self).items():
            shape = np.shape(x)
            shapes.append(shape[: max(len(shape) - core_axes(self, name), 0)])
        return np.broadcast_shapes(*shapes)


def in_dtype(problem: DrawnProblem, dtype: str) -> DrawnProblem:
    """Return the problem to be sent in another dtype, with the same numbers."""
    return replace(problem, description=(problem.description or Description()).having(dtype=dtype))


def leaves(problem: DrawnProblem) -> dict[str, Any]:
    """Return the numerical arguments under dotted names, ``"sde.noise.process"``; no None."""
    found: dict[str, Any] = {}

    def visit(name: str, x: Any) -> None:
        if isinstance(x, tuple) and hasattr(x, "_asdict"):
            for field, each in x._asdict().items():
                visit(f"{name}.{field}", each)
        elif x is not None:
            found[name] = x

    for each in fields(problem):
        if each.name not in ("causal", "layout", "correlated", "tolerance", "description"):
            visit(each.name, getattr(problem, each.name))
    return found


def core_axes(problem: DrawnProblem, name: str) -> int:
    """Return how many axes one of the `leaves` has after the leading ones, if it is no number."""
    if name in TOKENS or name == "mask":
        return 2
    if name.endswith("_times"):
        return 1
    diagonal = isinstance(problem.sde, DiagonalSDE)
    if name.startswith("query_variance"):
        return 2 if diagonal else 1
    return int(name.endswith("frequency") or (name.startswith("sde.") and diagonal))


def with_leaves(problem: DrawnProblem, changes: dict[str, Any]) -> DrawnProblem:
    """Return the problem with some of its `leaves` replaced."""

    def visit(name: str, x: Any) -> Any:
        if isinstance(x, tuple) and hasattr(x, "_asdict"):
            return type(x)(*(visit(f"{name}.{field}", each) for field, each in x._asdict().items()))
        return changes.get(name, x)

    parts = {each.name: visit(each.name, getattr(problem, each.name)) for each in fields(problem)}
    return replace(problem, **parts)


def in_arrays(problem: DrawnProblem, keep: Container[str] = ()) -> DrawnProblem:
    """Return the problem with its Python numbers as arrays, all but those to keep."""
    numbers = {
        name: np.asarray(x)
        for name, x in leaves(problem).items()
        if isinstance(x, float) and name not in keep
    }
    return with_leaves(problem, numbers)


def with_huge_token(
    problem: DrawnProblem,
    token: NDArray[np.bool_],
    huge: float,
    names: Collection[str] = ("query", "key"),
) -> DrawnProblem:
    """Return the problem with a query and a key alike, or one of them, of a huge greatest part."""
    key = np.asarray(problem.key)
    greatest = np.maximum(np.abs(key.real), np.abs(key.imag))
    unit = key / np.max(greatest, axis=-1, keepdims=True)
    tokens = {name: np.where(token[:, None], huge * unit, getattr(problem, name)) for name in names}
    return replace(problem, **tokens)


def completed(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem with explicit times, anchor and frequencies of values."""
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


def visibility(problem: DrawnProblem) -> NDArray[np.bool_]:
    """Return which keys are visible to which queries, spec §8.4: (..., n, m)."""
    n, m = problem.query.shape[-2], problem.key.shape[-2]
    visible = np.ones((n, m), dtype=bool)
    if problem.causal:
        visible = np.arange(m)[None, :] <= np.arange(m - n, m)[:, None]
    return visible if problem.mask is None else visible & problem.mask


def lags(problem: DrawnProblem) -> NDArray[Any]:
    """Return Δ_ij = t_i − t_j, (..., n, m)."""
    problem = completed(problem)
    lag = problem.query_times[..., :, None] - problem.key_times[..., None, :]
    return np.asarray(lag, dtype=float)


def decay_factors(problem: DrawnProblem) -> NDArray[Any]:
    """Return E_ij = e^{−μ|Δ_ij|}, (..., n, m), or (..., n, m, d) per mode."""
    decay, lag = np.asarray(problem.sde.decay), np.abs(lags(problem))
    if isinstance(problem.sde, DiagonalSDE):
        decay = decay[..., None, None, :] if decay.ndim else np.full(problem.modes, decay)
        return np.asarray(np.exp(-decay * lag[..., None]))
    return np.asarray(np.exp(-decay[..., None, None] * lag if decay.ndim else -decay * lag))


def phases(problem: DrawnProblem) -> NDArray[Any]:
    """Return e^{iωΔ_ij}, (..., n, m, d)."""
    frequency = np.asarray(problem.sde.frequency)
    frequency = frequency[..., None, None, :] if frequency.ndim else frequency
    return np.asarray(np.exp(1j * frequency * lags(problem)[..., None]))


def at_index(problem: DrawnProblem, index: tuple[int, ...]) -> DrawnProblem:
    """Return the problem at one index of its leading axes, without any leading axes."""
    leading = problem.leading

    def take(x: Any, core: int) -> Any:
        x = np.asarray(x)
        core = min(core, x.ndim)
        return np.broadcast_to(x, (*leading, *x.shape[x.ndim - core :]))[index]

    changes: dict[str, Any] = {
        name: take(x, core_axes(problem, name))
        for name, x in leaves(problem).items()
        if not isinstance(x, float)
    }
    return with_leaves(problem, changes)


def condition(problem: DrawnProblem) -> float:
    """Bound how far a relative rounding of the inputs can move the output, relative to it.

    (1 + β (1 + s (‖q‖ + ‖k‖)²/(dΣ) + |log Σ|)) (1 + largest angle ωΔ) (1 + least visible μ|Δ|),
    where s is the largest slope of log w in m/d. The expanded residual cancels numbers of size
    (‖q‖ + ‖k‖)², whose phases have ωΔ roundings; where every visible key is far, the whole output
    has those of E.
    """
    problem = completed(problem)
    if 0 in (*problem.leading, *problem.query.shape, *problem.key.shape):
        return 1.0
    numbers = {name: np.asarray(x) for name, x in leaves(problem).items()}
    largest = {name: float(np.max(np.abs(x), initial=0.0)) for name, x in numbers.items()}
    lag = np.abs(lags(problem))
    longest = float(np.max(lag, initial=0.0))
    sigma = min(_smallest_covariance(problem, noise, lag) for noise in _noises(problem.sde))
    norm = float(np.max(np.linalg.norm(problem.query, axis=-1), initial=0.0))
    norm += float(np.max(np.linalg.norm(problem.key, axis=-1), initial=0.0))
    angle = largest["sde.frequency"] * longest + largest.get("sde.value_frequency", 0.0) * longest
    beta = max(1.0, largest["inverse_temperature"])
    slope = _largest_slope(problem.weighting)
    logit = slope * norm**2 / (problem.modes * sigma) + abs(float(np.log(sigma)))
    return (1.0 + beta * (1.0 + logit)) * (1.0 + angle) * (1.0 + _least_visible_decay(problem))


def _largest_slope(weighting: Weighting) -> float:
    """Return the largest |d log w / d(m/d)|."""
    match weighting:
        case StudentT():
            return float(np.max(1.0 + 1.0 / np.asarray(weighting.dof, dtype=float)))
        case Rational():
            return float(np.max(1.0 / np.asarray(weighting.dof, dtype=float)))
        case Gaussian():
            return 1.0
        case _:
            return 0.0


def _least_visible_decay(problem: DrawnProblem) -> float:
    """Return the least μ|Δ| of a visible pair; 0 if there is none."""
    visible, factors = visibility(problem), decay_factors(problem)
    if isinstance(problem.sde, DiagonalSDE):
        visible = visible[..., None]
    nearest = float(np.max(np.where(visible, factors, 0.0), initial=0.0))
    return -float(np.log(nearest)) if nearest else 0.0


def weights_condition(problem: DrawnProblem) -> float:
    """Bound the same for weights, which are measured through E: its own roundings are μ|Δ|."""
    return condition(problem) * (1.0 - float(np.min(np.log(decay_factors(problem)), initial=0.0)))


def _noises(sde: Any) -> tuple[Noise, ...]:
    """Return the noise, or that along and that across the anchor."""
    if isinstance(sde, RadialTangentialSDE):
        return sde.radial_noise, sde.tangential_noise
    return (sde.noise,)


def _smallest_covariance(problem: DrawnProblem, noise: Any, lag: NDArray[Any]) -> float:
    """Return the least Σ: it is monotone in Δ, so at the least or the greatest lag (spec §2)."""
    if problem.query_variance is not None:
        own = [x for name, x in leaves(problem).items() if name.startswith("query_variance")]
        noise = noise._replace(query=min(float(np.min(x, initial=np.inf)) for x in own))
    lags_at_ends = np.min(lag, initial=np.inf), np.max(lag, initial=0.0)
    return min(
        float(np.min(residual_covariance(x if np.isfinite(x) else 0.0, problem.sde.decay, noise)))
        for x in lags_at_ends
    )
