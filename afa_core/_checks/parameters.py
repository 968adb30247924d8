"""Parameters of models and weightings in the dtype and with the axes of a computation."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import DType, Namespace, is_number, with_rank
from afa_core.model.sde import DiagonalSDE


def model_in(sde: Any, dtype: DType, wide: DType, *, xp: Namespace) -> Any:
    """Cast a model; `value_frequency` is filled in with `frequency` where it is None."""
    sde = cast_parameters(sde, dtype, wide, xp=xp)
    if not isinstance(sde, DiagonalSDE) and sde.value_frequency is None:
        return sde._replace(value_frequency=sde.frequency)
    return sde


def cast_parameters(x: Any, dtype: DType, wide: DType, *, xp: Namespace) -> Any:
    """Cast the parameters of nested NamedTuples; frequencies get the wide dtype."""
    if isinstance(x, tuple):
        fields = x._asdict().items()  # type: ignore[attr-defined]
        return type(x)(
            *(
                cast_parameters(v, wide if f.endswith("frequency") else dtype, wide, xp=xp)
                for f, v in fields
            )
        )
    if x is None:
        return None
    return float(x) if is_number(x) else xp.astype(x, dtype, copy=False)


def aligned(x: Any, leading: int, own: int = 0) -> Any:
    """Return parameters with so many leading axes, those that they lack of length one.

    Beside these an array has `own` axes: one of modes if it is a frequency or of a diagonal model,
    where an array without axes stands for all modes.
    """
    if isinstance(x, tuple):
        own = 1 if isinstance(x, DiagonalSDE) else own
        fields = x._asdict()  # type: ignore[attr-defined]
        parts = {
            name: aligned(each, leading, 1 if name.endswith("frequency") else own)
            for name, each in fields.items()
        }
        if fields.get("value_frequency", x) is fields.get("frequency"):  # so that it stays known
            parts["value_frequency"] = parts["frequency"]
        return type(x)(**parts)
    if x is None or is_number(x) or (own == 1 and not x.ndim):
        return x
    return with_rank(x, leading + own)
