"""Mutants that differ in one operator or number, by the operators of Cosmic Ray.

Cosmic Ray can replace every operator by every other, which makes thousands of mutants. `OPERATORS`
chooses one replacement for each place, by an operator of the same kind or a number one less; that
leaves about three hundred in `MODULES`, which contain the formulas of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from catalogue import FORMS, Mutant, Run
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from functions import MODULE, ROOT, functions, module_path

MODULES = (
    "afa_core.model.covariance",
    "afa_core.model.weighting",
    "afa_core.model.sde",
    "afa_core.reference.isotropic",
    "afa_core.reference.diagonal",
    "afa_core.reference.radial_tangential",
    "afa_core.reference.softmax",
    "afa_core.streaming.pair_weights",
    "afa_core.streaming.lags",
)
OPERATORS = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Pow_Mul", "FloorDiv_Mul", "Mod_FloorDiv")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Is_IsNot", "IsNot_Is")),
    *("ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Not"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceContinueWithBreak", "ZeroIterationForLoop", "NumberReplacer"),
)
LESS_ONE = "NumberReplacer"
"""Makes two mutants of each number, of which the second, a number less one, is chosen."""
BINARY = ("arith_expr", "term", "power")
"""Nodes with binary operators; the stars of signatures, calls and literals are in others."""


class Operation(NamedTuple):
    """The change that an operator of Cosmic Ray makes at one of its places in a module."""

    operator: str
    occurrence: int

    def apply(self, source: str, function: str) -> str:
        """Return the source of a module with the change."""
        changed: str = mutate_code(source, get_operator(f"core/{self.operator}")(), self.occurrence)
        return changed


def mutants(modules: Sequence[str], runs: Mapping[str, Run]) -> list[Mutant]:
    """Return the mutants of some modules; laws are run on them as on those of the catalogue."""
    found = []
    for module in modules:
        source = (ROOT / module_path(module)).read_text(encoding="utf-8")
        for operation, line, function in operations(source):
            changed = operation.apply(source, function).split("\n")[line - 1].strip()
            name = f"{changed} ({operation.operator})"
            run = runs.get(f"{module}:{function}", runs[module])
            found.append(Mutant(name, module, function, [*FORMS], run, operation))
    return found


def operations(source: str) -> Iterator[tuple[Operation, int, str]]:
    """Yield the changes of a module, the lines and the functions that they are made in."""
    nodes = [*ast_nodes(get_ast(source))]
    starts = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]
    known = functions(source)
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = [(node, at[0]) for node in nodes for at in operator.mutation_positions(node)]
        for occurrence, (node, (line, column)) in enumerate(places):
            if "Binary" in name and node.parent.type not in BINARY:
                continue
            if name == LESS_ONE and not occurrence % 2:
                continue
            at = starts[line - 1] + column
            inside = [name for name, span in known.items() if span.start <= at < span.end]
            yield Operation(name, occurrence), line, (inside or [MODULE])[-1]
