"""From the operands of tiles to what kernels of the radial–tangential form take (spec §6)."""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import torch
from array_api_compat import torch as namespace

from afa_core.streaming.operands import Norms, Operands, StaticProblem
from afa_core.streaming.ranges import extremes
from afa_torch.triton.arguments import Flags
from afa_torch.triton.prepare import Prepared, flat, prepare
from afa_torch.triton.radial_tangential import Components

F32 = torch.float32
XP: Any = namespace
LOG_RANGE_SHARE = 0.8
"""Share of the logarithm of the largest number that the range of a power may span."""
LARGEST = torch.finfo(F32).max


class Directions(NamedTuple):
    """What residuals are computed from."""

    along: Any  # u, (g, n, 2d)
    across: Any  # i u
    lengths: Any  # ‖q‖, (g, n, 1)
    unit: Any  # 1 over the length of u as it was rounded


class Both(NamedTuple):
    """A problem as kernels take it, the problem of each component, and directions of queries."""

    prepared: Prepared
    components: Components
    directions: Directions

    @property
    def flags(self) -> Flags:
        """What kernels are compiled for, but for blocks."""
        return self.prepared.flags

    @property
    def tokens(self) -> Any:
        """Directions of queries, (g, n, 2d)."""
        return self.directions.along

    @property
    def by_powers(self) -> Both:
        """The problem of the heads whose weights are powers, if any are."""
        return self._replace(prepared=self.prepared.by_powers)


def prepare_both(operands: Operands, static: StaticProblem) -> Both:
    """Return the arguments that all kernels share."""
    radial, tangential = (prepare(component(operands, s), static) for s in range(2))
    root = radial.model[:, 3].sqrt()[:, None]
    directions = directions_of(radial.queries.tokens, operands.query.dtype)
    along, across, lengths, unit = directions
    q = radial.queries._replace(tokens=along, square=root * flat(lengths))
    other = tangential.queries._replace(tokens=across, square=root * flat(unit))
    powers = _powers(operands, radial)
    models = Components(*(_with_powers(each.model, powers) for each in (radial, tangential)))
    power = radial.flags.power
    prepared = Prepared(
        Components(q, other),
        Components(radial.keys, tangential.keys),
        radial.mask,
        models,
        radial.numbers,
        radial.flags,
        (power,) if power < 0 else (power, -1),
    )
    own = (
        each._replace(model=model) for each, model in zip((radial, tangential), models, strict=True)
    )
    return Both(prepared, Components(*own), directions)


def component(operands: Operands, s: int) -> Operands:
    """Return the operands of one component."""
    part = slice(s, s + 1)
    names = ["process", "measurement", "query_noise", "query_level", "key_level", "missing"]
    own: Any = operands
    if own.query_variance.shape[-1]:
        names.append("query_variance")
    return operands._replace(**{name: getattr(own, name)[..., part] for name in names})


def directions_of(query: Any, dtype: Any) -> Directions:
    """Return the directions and lengths of queries; no direction where a query is zero."""
    wide = query.to(F32)
    greatest = wide.abs().amax(-1, keepdim=True)  # lengths whose square vanishes are lengths too
    relative = wide / torch.where(greatest > 0.0, greatest, 1.0)
    length = torch.linalg.vector_norm(relative, dim=-1, keepdim=True)
    u = (relative / torch.where(length > 0.0, length, 1.0)).to(dtype)
    real, imag = u.chunk(2, -1)
    rounded = torch.linalg.vector_norm(u, dim=-1, keepdim=True, dtype=F32)
    unit = torch.where(rounded > 0.0, 1.0 / torch.where(rounded > 0.0, rounded, 1.0), 0.0)
    return Directions(u, torch.cat([-imag, real], -1), greatest * length, unit)


def _powers(operands: Any, prepared: Prepared) -> Any:
    """Return 1 where (1 + r)^(−p)/Σ_s is in range, 0 elsewhere, (g,)."""
    power = prepared.flags.power
    heads, queries = operands.query.shape[:2]
    if power < 0 or not queries:
        return torch.full((heads,), float(power >= 0), dtype=F32, device=operands.query.device)
    squares = Norms(prepared.queries.square[..., None], prepared.keys.square[..., None])
    one = torch.ones_like(operands.dof)  # the squares contain c
    found: Any = extremes(operands, squares, one, xp=XP)
    low, high = found.low.amin(1), found.high.amax(1)
    top = torch.where(found.top.isfinite(), found.top, 0.0).amax(1)
    known = torch.where(low > 0.0, low, 1.0)
    furthest = torch.maximum(known.log().abs(), high.log().abs()).amax(-1)
    spread = power * torch.log1p((top / known).sum(-1)) + furthest
    below = spread < LOG_RANGE_SHARE * log(LARGEST)
    return (below & (low > 0.0).all(-1)).to(F32)


def _with_powers(model: Any, powers: Any) -> Any:
    """Return parameters with the unit of powers, which is 1, and where weights are powers."""
    return torch.cat([model[:, :6], torch.ones_like(powers)[:, None], powers[:, None]], 1)
