"""Bad input to the functions and methods of a model: its parameters, and the lags it takes."""

from typing import Any

import afa_core as afa
from afa_core.model.sde import SDE
from afa_core.model.weighting import Weighting

from .cases import (
    NOISE,
    array,
    bad_input,
    diagonal,
    foreign,
    isotropic,
    noise,
    ones,
    radial_tangential,
)
from .messages import (
    leading_axes,
    not_a_noise,
    not_a_number,
    not_an_array,
    not_an_sde,
    not_real,
    not_together,
    odd_channels,
    too_few_axes,
    two_libraries,
    unlike,
    wrong_shape,
)

EQUILIBRIUM = [
    ({"sde": None}, not_an_sde("NoneType")),
    ({"sde": ones(4), "constant_input": isotropic()}, not_an_sde("an array")),
    ({"constant_input": 1.0}, not_an_array("constant_input", "float")),
    ({"constant_input": ones()}, too_few_axes("constant_input", "(..., channels ≥ 1)", ())),
    ({"constant_input": ones(3)}, odd_channels("constant_input", (3,))),
    (
        {"constant_input": ones(6)},
        wrong_shape("sde.frequency", "(..., 3)", "the modes of `constant_input`", (2,)),
    ),
    (
        {"sde": isotropic(decay=ones(5)), "constant_input": ones(2, 4)},
        leading_axes("`constant_input` (2,), `sde.decay` (5,)"),
    ),
]

DELAY_KEYS = [
    ({"key_times": [0.0]}, not_an_array("key_times", "list")),
    ({"key_times": ones(3, dtype="int64")}, not_real("key_times", "int64")),
    (
        {"key_times": ones()},
        ValueError("`key_times` must have shape (..., m), got (). Add the axis of keys."),
    ),
    ({"delay": None}, not_a_number("delay", "NoneType")),
    ({"key_times": ones(2, 3), "delay": ones(5)}, leading_axes("`key_times` (2,), `delay` (5,)")),
]


def transition(sde: SDE, lag: Any) -> Any:
    return sde.transition(lag)


def covariance(sde: SDE, lag: Any) -> Any:
    return sde.covariance(lag)


def residual_covariance(sde: SDE, lag: Any) -> Any:
    return sde.residual_covariance(lag)


LAG = [
    ({"lag": 1.0}, not_an_array("lag", "float")),
    ({"sde": diagonal(), "lag": [1.0]}, not_an_array("lag", "list")),
    ({"lag": ones(3, dtype="int64")}, not_real("lag", "int64")),
    ({"sde": isotropic(decay=None)}, not_a_number("decay", "NoneType")),
    ({"sde": radial_tangential(radial_noise=tuple(NOISE))}, not_a_noise("radial_noise", "tuple")),
    ({"sde": diagonal(decay=foreign(1)), "lag": ones(1)}, two_libraries("decay", "lag")),
]


def lag_and_parameters(shapes: str) -> ValueError:
    return not_together("`lag` and the parameters", shapes)


LAG_SHAPE = {"lag": ones(5), "sde": isotropic(decay=ones(7))}


def validate(parameters: Any) -> None:
    parameters.validate()


def not_finite(name: str, got: str) -> ValueError:
    return unlike(name, "finite", got)


def not_positive(name: str, got: str) -> ValueError:
    return unlike(name, "finite and > 0", got)


def negative(name: str, got: str) -> ValueError:
    return unlike(name, "finite and ≥ 0", got)


def no_variance(noise: str) -> ValueError:
    return unlike(
        f"{noise}.measurement` + `{noise}.query", "> 0", "0", " Give one of them a positive value."
    )


def log_weight(weighting: Weighting, distance: Any) -> Any:
    return weighting.log_weight(distance, 2)


LOG_WEIGHT = [
    *(
        ({"weighting": weighting, "distance": [1.0]}, not_an_array("distance", "list"))
        for weighting in (afa.StudentT(), afa.Rational(), afa.Gaussian(), afa.Uniform())
    ),
    (
        {"weighting": afa.StudentT(4.0), "distance": 1.0},
        TypeError(
            "one of `distance`, `dof` must be an array, got Python numbers only. "
            "Convert one of them."
        ),
    ),
]

INF, NAN = float("inf"), float("nan")

VALUES = [
    (isotropic(decay=-1.0), negative("decay", "-1")),
    (diagonal(decay=NAN), negative("decay", "nan")),
    (isotropic(decay=INF), negative("decay", "inf")),
    (diagonal(decay=array(0.5, -0.25, dtype="float32")), negative("decay", "-0.25")),
    (isotropic(frequency=-INF), not_finite("frequency", "-inf")),
    (isotropic(value_frequency=array(0.0, NAN)), not_finite("value_frequency", "nan")),
    (isotropic(noise=noise(process=-0.5)), negative("noise.process", "-0.5")),
    (
        radial_tangential(radial_noise=noise(measurement=NAN)),
        negative("radial_noise.measurement", "nan"),
    ),
    (radial_tangential(tangential_noise=afa.Noise(1.0, 0.0, 0.0)), no_variance("tangential_noise")),
    (diagonal(noise=afa.Noise(1.0, array(0.0, 1.0), 0.0)), no_variance("noise")),
    (
        isotropic(noise=afa.Noise(1.0, ones(2), ones(3))),
        not_together("noises", "`noise.measurement` (2,), `noise.query` (3,)"),
    ),
    (isotropic(decay=None), not_a_number("decay", "NoneType")),
    (diagonal(decay=ones(2, dtype="int64")), not_real("decay", "int64")),
    (diagonal(noise=tuple(NOISE)), not_a_noise("noise", "tuple")),
    (afa.StudentT(0.0), not_positive("dof", "0")),
    (afa.Rational(INF), not_positive("dof", "inf")),
    (afa.StudentT(array(4.0, -1.0)), not_positive("dof", "-1")),
    (afa.Rational(None), not_a_number("dof", "NoneType")),
]

CASES = [
    *bad_input(
        afa.equilibrium, good={"sde": isotropic(), "constant_input": ones(4)}, rows=EQUILIBRIUM
    ),
    *bad_input(afa.delay_keys, good={"key_times": ones(3), "delay": 1.0}, rows=DELAY_KEYS),
    *bad_input(
        *(transition, covariance, residual_covariance),
        good={"sde": isotropic(), "lag": ones(3)},
        rows=LAG,
    ),
    *bad_input(
        *(covariance, residual_covariance),
        rows=[(LAG_SHAPE, lag_and_parameters("`lag` (5,), `decay` (7,)"))],
    ),
    *bad_input(
        transition,
        rows=[(LAG_SHAPE, lag_and_parameters("`lag` (5,), `decay` (7, 1), `frequency` (2,)"))],
    ),
    *bad_input(log_weight, rows=LOG_WEIGHT),
    *bad_input(validate, rows=[({"parameters": bad}, error) for bad, error in VALUES]),
]
