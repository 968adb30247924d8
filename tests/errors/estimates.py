"""Bad input to the functions of estimates: prediction, innovation, gate and sampling."""

import numpy as np

import afa_core as afa

from .cases import NOISE, bad_input, diagonal, foreign, isotropic, normal, ones
from .messages import (
    leading_axes,
    not_a_layout,
    not_a_number,
    not_an_array,
    not_an_sde,
    not_floating,
    not_real,
    not_together,
    not_tokens,
    odd_channels,
    of_type,
    two_kinds,
    two_libraries,
    wrong_shape,
)

PREDICT = [
    ({"mean": [[1.0]]}, not_an_array("mean", "list")),
    ({"mean": ones(4)}, not_tokens("mean", (4,))),
    ({"mean": ones(3, 5)}, odd_channels("mean", (3, 5))),
    ({"mean": ones(3, 4, dtype="int64")}, not_floating("mean", "int64")),
    ({"sde": 0.1}, not_an_sde("float")),
    ({"sde": isotropic(decay=None)}, not_a_number("sde.decay", "NoneType")),
    ({"sde": isotropic(decay=foreign(1))}, two_libraries("sde.decay", "mean")),
    (
        {"mean": ones(3, 6), "sde": diagonal()},
        wrong_shape("sde.decay", "(..., 3)", "the modes of `mean`", (2,)),
    ),
    (
        {"mean": ones(3, 6), "sde": isotropic(value_frequency=ones(2))},
        wrong_shape("sde.value_frequency", "(..., 3)", "the modes of `mean`", (2,)),
    ),
    ({"horizon": None}, not_a_number("horizon", "NoneType")),
    ({"horizon": ones(3, dtype="int64")}, not_real("horizon", "int64")),
    ({"horizon": ones()}, wrong_shape("horizon", "(..., 3)", "the tokens of `mean`", ())),
    (
        {"mean": ones(2, 3, 4), "sde": isotropic(decay=ones(5))},
        leading_axes("`mean` (2,), `sde.decay` (5,)"),
    ),
    ({"layout": "half"}, not_a_layout("'half'")),
]

INNOVATION = [
    ({"mean": None}, not_an_array("mean", "NoneType")),
    ({"value": [1.0]}, not_an_array("value", "list")),
    ({"value": ones(4)}, not_tokens("value", (4,))),
    ({"value": ones(3, 4, dtype="complex64")}, two_kinds("value", "real like `mean`", "complex64")),
    ({"value": foreign(3, 4)}, two_libraries("value", "mean")),
    ({"value": ones(3, 2)}, wrong_shape("value", "(..., 4)", "the channels of `mean`", (3, 2))),
    ({"value": ones(1, 4)}, wrong_shape("value", "(..., 3, 4)", "the tokens of `mean`", (1, 4))),
    ({"mean": ones(2, 3, 4), "value": ones(5, 3, 4)}, leading_axes("`mean` (2,), `value` (5,)")),
]

ESTIMATE = afa.Estimate(normal(3, 4), ones(3))

GATE = [
    ({"precision": 1.0}, not_an_array("precision", "float")),
    ({"precision": ESTIMATE}, not_an_array("precision", "Estimate")),
    ({"precision": afa.RadialTangential(ones(3), None)}, not_an_array("precision", "NoneType")),
    ({"precision": ones(3, dtype="int64")}, not_real("precision", "int64")),
    ({"prior_precision": [1.0]}, not_a_number("prior_precision", "list")),
    ({"prior_precision": foreign(3)}, two_libraries("prior_precision", "precision")),
    (
        {"prior_precision": ones(4)},
        not_together("the precisions", "`precision` (3,), `prior_precision` (4,)"),
    ),
]

SAMPLE = [
    ({"estimate": (ones(3, 4), ones(3))}, of_type("estimate", "Estimate", "tuple")),
    (
        {"rng": 0},
        TypeError(
            "`rng` must be a numpy.random.Generator, got int. "
            "Make one with numpy.random.default_rng."
        ),
    ),
    ({"estimate": ESTIMATE._replace(mean=[[1.0]])}, not_an_array("estimate.mean", "list")),
    ({"estimate": ESTIMATE._replace(precision=1.0)}, not_an_array("estimate.precision", "float")),
    (
        {"estimate": ESTIMATE._replace(precision=foreign(3))},
        two_libraries("estimate.precision", "estimate.mean"),
    ),
    (
        {"estimate": ESTIMATE._replace(precision=ones(4))},
        wrong_shape("estimate.precision", "(..., 3)", "the tokens of `estimate.mean`", (4,)),
    ),
    (
        {"estimate": ESTIMATE._replace(precision=ones())},
        wrong_shape("estimate.precision", "(..., 3)", "the tokens of `estimate.mean`", ()),
    ),
    (
        {"estimate": ESTIMATE._replace(precision=ones(3, 4))},
        wrong_shape("estimate.precision", "(..., 2)", "the modes of `estimate.mean`", (3, 4)),
    ),
    (
        {"estimate": afa.Estimate(ones(2, 3, 4), ones(5, 3))},
        leading_axes("`estimate.mean` (2,), `estimate.precision` (5,)"),
    ),
    ({"query_noise": NOISE}, not_a_number("query_noise", "Noise")),
    (
        {"query_noise": ones(2)},
        not_together("the variances", "`estimate.precision` (3,), `query_noise` (2,)"),
    ),
    (
        {"query_noise": ones(5, 3)},
        ValueError(
            "`query_noise` must broadcast to (3,), the shape of `estimate.precision`, got (5, 3). "
            "Leave out axes that the precision has not."
        ),
    ),
    (
        {"anchor": ones(3, 4)},
        ValueError("`anchor` belongs to a precision of type RadialTangential only. Leave it out."),
    ),
    ({"layout": "half"}, not_a_layout("'half'")),
]

RADIAL_TANGENTIAL = afa.Estimate(normal(3, 4), afa.RadialTangential(ones(3), ones(3)))

SAMPLE_RADIAL_TANGENTIAL = [
    (
        {},
        ValueError(
            "`anchor` must be given with a precision of type RadialTangential, got None. "
            "Pass the direction of each estimate, (..., n, c_v)."
        ),
    ),
    ({"anchor": [1.0]}, not_an_array("anchor", "list")),
    (
        {"anchor": ones(3, 2, dtype="complex64")},
        two_kinds("anchor", "real like `estimate.mean`", "complex64"),
    ),
    (
        {"anchor": ones(1, 4)},
        wrong_shape("anchor", "(..., 3, 4)", "the tokens of `estimate.mean`", (1, 4)),
    ),
    (
        {
            "estimate": RADIAL_TANGENTIAL._replace(precision=afa.RadialTangential(None, ones(3))),
            "anchor": ones(3, 4),
        },
        not_an_array("estimate.precision.radial", "NoneType"),
    ),
]

RNG = np.random.default_rng(0)
CASES = [
    *bad_input(
        afa.predict, good={"mean": ones(3, 4), "sde": isotropic(), "horizon": 1.0}, rows=PREDICT
    ),
    *bad_input(afa.innovation, good={"mean": ones(3, 4), "value": ones(3, 4)}, rows=INNOVATION),
    *bad_input(afa.gate, good={"precision": ones(3), "prior_precision": 1.0}, rows=GATE),
    *bad_input(afa.sample, good={"estimate": ESTIMATE, "rng": RNG}, rows=SAMPLE),
    *bad_input(
        afa.sample, good={"estimate": RADIAL_TANGENTIAL, "rng": RNG}, rows=SAMPLE_RADIAL_TANGENTIAL
    ),
]
