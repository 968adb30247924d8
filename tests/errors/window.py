"""Bad input to attention with a window."""

import numpy as np

import afa_core as afa

from .cases import bad_input, diagonal, isotropic, normal
from .messages import not_an_array, not_boolean, not_real, unlike, wrong_shape


def not_a_count(name: str, got: str) -> ValueError:
    return unlike(name, "a positive number of tokens", got)


TOKENS = {name: normal(64, 4) for name in ("query", "key", "value")}
GOOD = {**TOKENS, "sde": isotropic(frequency=0.5), "window": 8}

WINDOW = [({"window": bad}, not_a_count("window", repr(bad))) for bad in (0, -1, 2.0, True, None)]

FORM = [
    (
        {"sde": diagonal(decay=0.1)},
        TypeError(
            "`sde` must be an IsotropicSDE, got DiagonalSDE: the sums of other forms are as many "
            "as the products of their modes. Use attention()."
        ),
    )
]


def not_of_keys(shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        "`mask` must have shape (..., 1, m) with a window, whose sums all queries share, got "
        f"{shape}. Pass a mask of keys, or use attention()."
    )


KEYS = [
    ({"mask": np.ones((64, 64), bool)}, not_of_keys((64, 64))),
    ({"mask": np.ones((64, 64), bool), "correlated": True}, not_of_keys((64, 64))),
    ({"mask": np.ones((2, 64, 1), bool)}, not_of_keys((2, 64, 1))),
    ({"mask": np.ones(64)}, not_boolean("float64")),
    ({"mask": [True] * 64}, not_an_array("mask", "list")),
    (
        {"mask": np.ones(63, bool)},
        ValueError(
            "`mask` must broadcast to (..., 64, 64), queries by keys, got (63,). Give axes that do "
            "not vary length 1."
        ),
    ),
    ({"correlated": 1}, TypeError("`correlated` must be True or False, got 1. Convert it.")),
    (
        {"query_variance": np.ones(63)},
        wrong_shape("query_variance", "(..., 64)", "the tokens of `query`", (63,)),
    ),
    ({"query_variance": np.ones(64, int)}, not_real("query_variance", "int64")),
    ({"query_variance": 1.0}, not_an_array("query_variance", "float")),
]

CASES = [
    *bad_input(afa.windowed_attention, afa.window_error, good=GOOD, rows=[*WINDOW, *FORM, *KEYS]),
    *bad_input(afa.windowed_attention, good=GOOD, rows=[({"tile": 0}, not_a_count("tile", "0"))]),
]
