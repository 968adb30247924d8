"""`tiled.py` with one constant wrong: the exponent of its Student-t weight is ν_s, not ν_s + 1."""

import tiled

tiled.EXCESS = 0.0
attention = tiled.attention
