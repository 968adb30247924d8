"""The implementations of attention: which of them can run a problem, and which one is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.pairs import Pair
from afa_core._checks.problem import Problem
from afa_core._dispatch import registered
from afa_core.linear import uniform as linear
from afa_core.model.sde import RadialTangential
from afa_core.reference import materialise
from afa_core.streaming.attention import few_pairs, stream
from afa_core.streaming.engine import STANDARD, CompiledEngine, Engine

COMPILED = {
    "fused": "it takes NumPy and CuPy arrays, and PyTorch tensors on a CPU.",
    "triton": "it takes PyTorch tensors on a GPU.",
    "pallas": "it takes JAX arrays on an NVIDIA GPU.",
}
"""Implementations that only some libraries have, with the arrays that they take."""


class RunOptions(NamedTuple):
    """Options of an evaluation beside the name of the implementation."""

    return_precision: bool = True
    tile: int | None = None  # number of queries in a block


class Implementation(NamedTuple):
    """A way to evaluate attention.

    Parameters
    ----------
    name : str
    refusal : callable
        Returns why the implementation cannot run a problem, an empty string if it can.
    reservation : callable
        Returns why `auto` prefers another implementation, an empty string if it does not.
    run : callable
        Returns the mean, packed as the problem is, and the precision.
    """

    name: str
    refusal: Callable[[Problem, Namespace], str]
    reservation: Callable[[Problem, Namespace], str]
    run: Callable[[Problem, RunOptions, Namespace], tuple[Array, Array | RadialTangential]]


def _never(problem: Problem, xp: Namespace) -> str:
    return ""


def _run_reference(
    problem: Problem, options: RunOptions, xp: Namespace
) -> tuple[Array, Array | RadialTangential]:
    result = materialise(problem, xp=xp)
    return problem.pack(result.mean, xp=xp), result.precision


def _streaming(xp: Namespace) -> Engine:
    return registered("streaming", xp, STANDARD)


def _compiled(name: str, xp: Namespace) -> CompiledEngine | None:
    none: CompiledEngine | None = None
    return registered(name, xp, none)


def engine_of(implementation: str, xp: Namespace) -> Engine | None:
    """Return the engine that runs an implementation, None if it has no tiles."""
    if implementation == "streaming":
        return _streaming(xp)
    compiled = _compiled(implementation, xp) if implementation in COMPILED else None
    return None if compiled is None else compiled.engine


def _not_compiled(name: str) -> Callable[[Problem, Namespace], str]:
    def refusal(problem: Problem, xp: Namespace) -> str:
        compiled = _compiled(name, xp)
        return COMPILED[name] if compiled is None else compiled.refusal(problem)

    return refusal


def _not_worth_it(name: str) -> Callable[[Problem, Namespace], str]:
    def reservation(problem: Problem, xp: Namespace) -> str:
        engine = engine_of(name, xp)
        compiled = _compiled(name, xp) if name in COMPILED else None
        own = "" if compiled is None else compiled.reservation(problem)
        return own or ("" if engine is None else few_pairs(problem, engine))

    return reservation


def _run_tiles(
    name: str,
) -> Callable[[Problem, RunOptions, Namespace], tuple[Array, Array | RadialTangential]]:
    def run(
        problem: Problem, options: RunOptions, xp: Namespace
    ) -> tuple[Array, Array | RadialTangential]:
        engine, precision = engine_of(name, xp), options.return_precision
        assert engine is not None
        return stream(problem, engine, options.tile, return_precision=precision, xp=xp)

    return run


def _run_linear(
    problem: Problem, options: RunOptions, xp: Namespace
) -> tuple[Array, Array | RadialTangential]:
    mean, precision = linear.uniform_attention(problem, xp=xp)
    core = mean.real.shape[-2:]  # weights do not depend on queries, which may have more axes
    mean = Pair(*(xp.broadcast_to(x, (*problem.leading, *core)) for x in mean))
    return problem.pack(mean, xp=xp), precision


def _not_linear(problem: Problem, xp: Namespace) -> str:
    if problem.correlated:
        return "the influence of correlated keys is no function of the lag."
    if problem.query_variance is not None:
        return "queries have variances of their own."
    return linear.refusal(problem, xp)


IMPLEMENTATIONS = (
    Implementation("linear", _not_linear, linear.reservation, _run_linear),
    *(
        Implementation(name, _not_compiled(name), _not_worth_it(name), _run_tiles(name))
        for name in COMPILED
    ),
    Implementation("streaming", _never, _not_worth_it("streaming"), _run_tiles("streaming")),
    Implementation("reference", _never, _never, _run_reference),
)
"""In the order in which `auto` prefers them."""


class Explanation(NamedTuple):
    """Which implementation would run, and why each of the others would not.

    Parameters
    ----------
    chosen : str
        Name of the implementation that would run.
    others : dict
        From the name of every other implementation to the reason it is not chosen.
    early_exit : str
        Why every key is visited; empty if far ones may be left out (`tolerance`).
    derivatives : str
        Which derivatives the chosen implementation lacks; empty if the library takes any.
    """

    chosen: str
    others: dict[str, str]
    early_exit: str
    derivatives: str


def choose(name: str, problem: Problem, xp: Namespace) -> Implementation:
    """Return the implementation of that name, or with ``auto`` the first that is worth it.

    Raises
    ------
    ValueError
        If the name is unknown, or the implementation cannot run the problem; says why.
    """
    named = {each.name: each for each in IMPLEMENTATIONS}
    if name == "auto":
        return next(
            each
            for each in IMPLEMENTATIONS
            if not (each.refusal(problem, xp) or each.reservation(problem, xp))
        )
    if not (isinstance(name, str) and name in named):
        listed = ", ".join(repr(each) for each in ("auto", *named))
        msg = f"`implementation` must be one of {listed}, got {name!r}."
        raise ValueError(msg)
    if reason := named[name].refusal(problem, xp):
        msg = f"`implementation` {name!r} cannot run this problem: {reason}"
        raise ValueError(msg)
    return named[name]


def explain_choice(name: str, problem: Problem, xp: Namespace) -> Explanation:
    """Return the choice with the reasons against the others."""
    chosen = choose(name, problem, xp)

    def reason(each: Implementation) -> str:
        own = each.refusal(problem, xp) or each.reservation(problem, xp)
        return own or f"{chosen.name!r} is preferred"

    others = {each.name: reason(each) for each in IMPLEMENTATIONS if each is not chosen}
    engine = engine_of(chosen.name, xp)
    derivatives = "" if engine is None else engine.derivatives
    return Explanation(chosen.name, others, _no_exit(chosen, problem, xp), derivatives)


def _no_exit(chosen: Implementation, problem: Problem, xp: Namespace) -> str:
    """Return why every key is visited, an empty string where far ones may be left out."""
    if not problem.correlated:
        return "the weight of far keys that are not correlated has no bound."
    if problem.tolerance == 0.0:
        return "`tolerance` is 0."
    engine = engine_of(chosen.name, xp)
    if engine is None:
        return f"{chosen.name!r} evaluates all pairs at once."
    return engine.no_exit(problem)
