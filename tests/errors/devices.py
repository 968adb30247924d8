"""Arrays on two devices of one library: the foreign ones are on the second."""

import numpy as np

import afa_core as afa

from .attention import GOOD
from .cases import bad_input, foreign, isotropic, normal, ones
from .messages import two_devices
from .model import covariance

SDE = isotropic(decay=foreign())
SAMPLED = {
    "estimate": afa.Estimate(normal(3, 4), afa.RadialTangential(ones(3), ones(3))),
    "rng": np.random.default_rng(0),
}

# Every row: the function, its arguments, the foreign array, and the array it does not match.
ROWS = [
    (afa.attention, {**GOOD, "value": foreign(3, 4)}, "value", "query"),
    (afa.attention, {**GOOD, "sde": SDE}, "sde.decay", "query"),
    (afa.predict, {"mean": ones(3, 4), "sde": SDE, "horizon": 1.0}, "sde.decay", "mean"),
    (afa.innovation, {"mean": ones(3, 4), "value": foreign(3, 4)}, "value", "mean"),
    (
        afa.gate,
        {"precision": ones(3), "prior_precision": foreign()},
        "prior_precision",
        "precision",
    ),
    (covariance, {"sde": SDE, "lag": ones(1)}, "decay", "lag"),
    (afa.sample, {**SAMPLED, "anchor": foreign(3, 4)}, "anchor", "estimate.mean"),
]

CASES = [
    case
    for function, arguments, name, first in ROWS
    for case in bad_input(function, rows=[(arguments, two_devices(name, first))])
]
