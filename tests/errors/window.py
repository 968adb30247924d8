"""Bad input to attention with a window."""

import afa_core as afa

from .cases import bad_input, diagonal, isotropic, normal
from .messages import unlike


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

CASES = [
    *bad_input(afa.windowed_attention, afa.window_error, good=GOOD, rows=[*WINDOW, *FORM]),
    *bad_input(afa.windowed_attention, good=GOOD, rows=[({"tile": 0}, not_a_count("tile", "0"))]),
]
