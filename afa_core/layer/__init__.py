"""A layer of Adaptive Filter Attention for all array libraries.

The layers of frameworks store the parameters; `attend` and `step` compute with them.
"""

from afa_core.layer.attend import Attended, attend
from afa_core.layer.decoding import empty_cache, step
from afa_core.layer.format import layers, metadata
from afa_core.layer.parameters import Initial, Parameters, initial, sde_of, trained
from afa_core.layer.rotary import from_rotary
from afa_core.layer.settings import Settings
from afa_core.layer.start import Start
from afa_core.layer.units import in_time_unit
from afa_core.layer.value import Layer

__all__ = [
    "Attended",
    "Initial",
    "Layer",
    "Parameters",
    "Settings",
    "Start",
    "attend",
    "empty_cache",
    "from_rotary",
    "in_time_unit",
    "initial",
    "layers",
    "metadata",
    "sde_of",
    "step",
    "trained",
]
