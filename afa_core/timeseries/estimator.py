"""Parameters of an object by name, as scikit-learn reads and sets them."""

from __future__ import annotations

from inspect import signature
from typing import Any, Self


class Estimator:
    """An object whose constructor stores its parameters under their names."""

    def __repr__(self) -> str:
        parameters = signature(type(self)).parameters
        changed = [
            f"{name}={x!r}"
            for name, x in self.get_params().items()
            if not _is(x, parameters[name].default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor by name; `deep` is for scikit-learn."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters of the constructor.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        known = list(signature(type(self)).parameters)
        for name in parameters:
            if name not in known:
                msg = f"`{name}` must be one of {', '.join(known)}. Correct the name."
                raise ValueError(msg)
        for name, x in parameters.items():
            setattr(self, name, x)
        return self


def _is(x: Any, default: Any) -> bool:
    """Whether a parameter has its default value, which is a plain one."""
    return x is default or (type(x) is type(default) and bool(x == default))
