"""How a library runs attention over tiles: its loop, its buffers, its derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.pairs import rotate_packed
from afa_core._checks.problem import Problem
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.run import forward
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.streaming.operations import standard
from afa_core.streaming.phases import Rotate


def unread(problem: Problem) -> str:
    """Return why every key is visited where values cannot be read."""
    return "values cannot be read on this device."


def exits(problem: Problem) -> str:
    """Return no reason: far keys of any correlated problem may be left out."""
    return ""


class Crossover(NamedTuple):
    """From how many tokens on tiles are faster than the reference, by form.

    Each is the geometric mean of n and m for a single head; in the diagonal form for a single mode,
    since a pair has numbers for every mode.
    """

    isotropic: int
    radial_tangential: int
    diagonal: int


def unchanged(sizes: Sizes, static: StaticProblem) -> Sizes:
    """Return the sizes given."""
    return sizes


def unreserved(problem: Problem) -> str:
    """Return no reason against an implementation."""
    return ""


class Engine(NamedTuple):
    """How a library runs attention over tiles.

    Parameters
    ----------
    run : callable
        ``run(operands, static, sizes, return_precision=…, xp=…)``: the mean (g, n, 2d_v), rotated
        back to time zero (the radial one before the tangential one), and the precision (g, n, s).
        Both are differentiable where the library is.
    sizes : Sizes
        Block sizes that suit the library.
    tokens : Crossover
        From how many on tiles are chosen.
    rotate : callable
        `rotate_packed`, or an equivalent with fewer passes over memory.
    no_exit : callable
        ``no_exit(problem)``: why every key of a correlated problem is visited; empty where far ones
        may be left out.
    count_pairs : callable or None
        ``count_pairs(operands, static, sizes, xp=…)``: how many pairs are in the tiles that `run`
        evaluates, of each head, (g,), and how many are in all. None where it evaluates all.
    heads_together : bool
        Whether a tile is evaluated for all heads at once, so that the pairs of all of them count
        towards the square of `tokens`; otherwise those of one do.
    holds_components : bool
        Whether a tile holds every component of its pairs, so that there are fewer of them.
    fit : callable
        ``fit(sizes, static)``: these block sizes, or smaller ones that suit a problem better.
    half : bool
        Whether it takes tokens in half precision, where all of a problem are.
    derivatives : str
        Which derivatives it lacks, as its error says; empty if the library takes any.
    """

    run: Callable[..., tuple[Array, Array]]
    sizes: Sizes
    tokens: Crossover
    rotate: Rotate = rotate_packed
    no_exit: Callable[[Problem], str] = unread
    count_pairs: Callable[..., tuple[Array, int]] | None = None
    heads_together: bool = False
    holds_components: bool = True
    fit: Callable[[Sizes, StaticProblem], Sizes] = unchanged
    half: bool = False
    derivatives: str = ""


class CompiledEngine(NamedTuple):
    """An engine of compiled loops, beside the one that every library has.

    Parameters
    ----------
    engine : Engine
    refusal : callable
        ``refusal(problem)``: why it does not take a problem, an empty string if it does.
    missing : callable
        ``missing()``: which libraries it lacks and how to install them, empty if none.
    warm_up : callable
        ``warm_up()`` compiles all loops ahead of their first call, and yields what is done.
    reservation : callable
        ``reservation(problem)``: why `auto` prefers another implementation, however large the
        problem; an empty string if it does not.
    """

    engine: Engine
    refusal: Callable[[Problem], str]
    missing: Callable[[], str]
    warm_up: Callable[[], Iterator[str]]
    reservation: Callable[[Problem], str] = unreserved


def _run(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    *,
    return_precision: bool,
    xp: Namespace,
) -> tuple[Array, Array]:
    ops = standard(xp)
    result = forward(operands, static, sizes, ops, return_precision=return_precision, xp=xp)
    return result.mean, result.precision


STANDARD = Engine(_run, Sizes(256, 1024), Crossover(512, 360, 512))
"""The operations of the array API one by one, for libraries that register no engine."""
