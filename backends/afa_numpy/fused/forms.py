"""The loops of each form, chosen by the type of the flags of a problem."""

from __future__ import annotations

from typing import Any

from numba import extending

from afa_numpy.fused.backward import backward_block as _backward
from afa_numpy.fused.diagonal_backward import backward_block as _backward_modes
from afa_numpy.fused.diagonal_forward import forward_block as _forward_modes
from afa_numpy.fused.diagonal_prepare import prepare_head as _prepare_modes
from afa_numpy.fused.forward import forward_block as _forward
from afa_numpy.fused.prepare import prepare_head as _prepare
from afa_numpy.fused.problem import DiagonalFlags, IsotropicFlags, RadialTangentialFlags
from afa_numpy.fused.radial_tangential import prepare_head as _prepare_both
from afa_numpy.fused.radial_tangential_backward import backward_block as _backward_both
from afa_numpy.fused.radial_tangential_forward import forward_block as _forward_both

PREPARE = {
    IsotropicFlags: _prepare,
    RadialTangentialFlags: _prepare_both,
    DiagonalFlags: _prepare_modes,
}
FORWARD = {
    IsotropicFlags: _forward,
    RadialTangentialFlags: _forward_both,
    DiagonalFlags: _forward_modes,
}
BACKWARD = {
    IsotropicFlags: _backward,
    RadialTangentialFlags: _backward_both,
    DiagonalFlags: _backward_modes,
}


# Of the following, what is compiled is chosen by `overload` at the end. The bodies are for
# interpreted runs (NUMBA_DISABLE_JIT=1).


def prepare_head(arrays: Any, flags: Any, largest: float, prepared: Any, h: int) -> None:
    """Write what the blocks of a head share."""
    PREPARE[type(flags)](arrays, flags, largest, prepared, h)


def forward_block(
    arrays: Any, flags: Any, prepared: Any, h: int, i0: int, i1: int, results: Any
) -> Any:
    """Write the results of queries i0 to i1 of head h; return how many pairs its tiles have."""
    return FORWARD[type(flags)](arrays, flags, prepared, h, i0, i1, results)


def backward_block(
    arrays: Any, flags: Any, prepared: Any, results: Any, given: Any, found: Any,
    part: int, h: int, i0: int, i1: int,
) -> None:  # fmt: skip
    """Add the gradients through queries i0 to i1 of head h."""
    chosen = BACKWARD[type(flags)]
    chosen(arrays, flags, prepared, results, given, found, part, h, i0, i1)


def _prepare_head(arrays: Any, flags: Any, largest: Any, prepared: Any, h: Any) -> Any:
    chosen = PREPARE[flags.instance_class]
    return lambda arrays, flags, largest, prepared, h: chosen(arrays, flags, largest, prepared, h)


def _forward_block(
    arrays: Any, flags: Any, prepared: Any, h: Any, i0: Any, i1: Any, results: Any
) -> Any:
    chosen = FORWARD[flags.instance_class]
    return lambda arrays, flags, prepared, h, i0, i1, results: chosen(
        arrays, flags, prepared, h, i0, i1, results
    )


def _backward_block(
    arrays: Any, flags: Any, prepared: Any, results: Any, given: Any, found: Any,
    part: Any, h: Any, i0: Any, i1: Any,
) -> Any:  # fmt: skip
    chosen = BACKWARD[flags.instance_class]
    return lambda arrays, flags, prepared, results, given, found, part, h, i0, i1: chosen(
        arrays, flags, prepared, results, given, found, part, h, i0, i1
    )


extending.overload(prepare_head, strict=False)(_prepare_head)
extending.overload(forward_block, strict=False)(_forward_block)
extending.overload(backward_block, strict=False)(_backward_block)
