"""Attention over tiles in JAX: loops that are compiled once, whatever the number of tokens.

Queries and keys are cut into pieces of one size each. What is wanting of the first piece stands in
front of the sequence: copies of the first token, hidden as keys and dropped as queries. The way
back evaluates the tiles again; it can itself be differentiated forward, so that there are
Hessians, but not in reverse. Forward derivatives of the way there are refused by
`jax.custom_vjp`; the reference has them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax

from afa_core.streaming.blocks import Sizes, Step
from afa_core.streaming.engine import Engine
from afa_core.streaming.forms import BACK, FORMS, Form
from afa_core.streaming.forward.run import marks, spoil
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import Fixed, Operands, norms_of
from afa_core.streaming.operations import Operations, standard
from afa_core.streaming.ranges import in_range, settled
from afa_core.streaming.tiles import Given
from afa_jax.tiles import Span, cut, tiles

XP: Any = jnp


OPERATIONS: Operations = standard(XP)._replace(
    product=partial(jnp.matmul, precision=lax.Precision.HIGHEST), cut=cut, keeps=False
)


class Static(NamedTuple):
    """What beside arrays makes a program."""

    known: tuple[Any, ...]  # the fields of `Fixed` up to the heads, without the mask
    sizes: Sizes
    precise: bool

    @property
    def fixed(self) -> Fixed:
        """What is known of the problem."""
        return Fixed(*self.known)


def by_powers(o: Operands, fixed: Fixed, function: Callable[[Form], Any]) -> Any:
    """Apply a function to the form of a problem, by integer powers where they are safe."""
    norms = norms_of(o, OPERATIONS.norm2)

    def run(*, powers: bool) -> Any:
        return function(FORMS[fixed.form](Given(o, fixed, norms, OPERATIONS, powers, XP)))

    known = settled(fixed)
    if known is not None:
        return run(powers=known)
    safe = in_range(o, fixed, norms, xp=XP)
    return lax.cond(safe, partial(run, powers=True), partial(run, powers=False))


@partial(jax.jit, static_argnums=0)
def forward(static: Static, o: Operands, mask: Any) -> Result:
    """Estimate the state at every query."""
    fixed, known = static.fixed, XP.isfinite(o.value)
    own, grid = tiles(o._replace(value=XP.where(known, o.value, 0.0)), fixed, static.sizes, mask)
    rows = grid.rows

    def estimate(form: Form) -> Result:
        def panel(at: Any) -> Result:
            def add(sums: Any, step: Step, visible: Any) -> Any:
                return form.add(sums, rows.span(at), step, visible)

            nothing = form.nothing(rows.span(at), precise=static.precise)
            return form.result(grid.walk(at, nothing, add), rows.span(at))

        return Result(*(rows.joined(x) for x in lax.map(panel, jnp.arange(rows.number))))

    def spoilt(result: Result) -> Result:
        finite = grid.columns.filled(known)

        def panel(at: Any) -> Any:
            def add(sums: Any, step: Step, visible: Any) -> Any:
                return sums + marks(visible, OPERATIONS.cut(finite, step.columns), xp=XP)

            nothing = jnp.zeros((finite.shape[0], rows.size, finite.shape[2]), jnp.float32)
            return grid.walk(at, nothing, add)

        return spoil(result, rows.joined(lax.map(panel, jnp.arange(rows.number))), xp=XP)

    result = by_powers(own, fixed, estimate)
    return cast(Result, lax.cond(jnp.all(known), lambda x: x, spoilt, result))


class Added:
    """Derivatives added up in arrays of the whole sequence."""

    def __init__(self, sums: Operands) -> None:
        self.sums = sums

    def parameter(self, name: str, x: Any) -> None:
        """Add the derivative in a parameter."""
        self.sums = self.sums._replace(**{name: getattr(self.sums, name) + x})

    def tokens(self, name: str, tokens: Span, x: Any) -> None:
        """Add the derivative in some tokens."""
        whole = getattr(self.sums, name)
        whole = lax.dynamic_update_slice_in_dim(whole, cut(whole, tokens) + x, tokens.start, 1)
        self.sums = self.sums._replace(**{name: whole})


@partial(jax.jit, static_argnums=0)
def backward(
    static: Static, o: Operands, mask: Any, result: Result, by_mean: Any, by_precision: Any
) -> Operands:
    """Return the derivatives in all operands from those in the mean and in the precision."""
    fixed = static.fixed
    own, grid = tiles(o, fixed, static.sizes, mask)
    found = Result(*(grid.rows.filled(x) for x in result))
    by = [jnp.pad(x, ((0, 0), (grid.rows.copies, 0), (0, 0))) for x in (by_mean, by_precision)]

    def gradients(form: Form) -> Operands:
        def panel(at: Any, sums: Operands) -> Any:
            rows = grid.rows.span(at)
            given = [Result(*(cut(x, rows) for x in found)), *(cut(x, rows) for x in by)]

            def add(sums: Operands, step: Step, visible: Any) -> Operands:
                added = Added(sums)
                back = BACK[fixed.form](form, added)
                back.panel(rows, *given)
                back.tile(rows, step, visible)
                back.finish()
                return added.sums

            return grid.walk(at, sums, add)

        nothing = Operands(*(jnp.zeros_like(x) for x in own))
        return cast(Operands, lax.fori_loop(0, grid.rows.number, panel, nothing))

    sums = by_powers(own, fixed, gradients)
    return grid.own(sums)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def stream(static: Static, o: Operands, mask: Any) -> tuple[Any, Any]:
    """Return the mean and the precision."""
    result = forward(static, o, mask)
    return result.mean, result.precision


def _there(static: Static, o: Operands, mask: Any) -> tuple[Any, Any]:
    result = forward(static, o, mask)
    return (result.mean, result.precision), (o, mask, result)


def _back(static: Static, saved: Any, by: Any) -> tuple[Operands, None]:
    o, mask, result = saved
    return backward(static, o, mask, result, *by), None


stream.defvjp(_there, _back)


def _run(o: Operands, fixed: Fixed, sizes: Sizes, *, precise: bool, xp: Any) -> tuple[Any, Any]:
    visibility = fixed.visibility
    known = fixed._replace(visibility=visibility._replace(mask=None))[
        : Fixed._fields.index("heads")
    ]
    return stream(Static(known, sizes, precise), o, visibility.mask)


ENGINE = Engine(_run, Sizes(256, 256), 512)
