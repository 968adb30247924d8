"""Which values are accepted and read, and errors that are not the same on every function."""

import numpy as np
import pytest

import afa_core as afa
from afa_core._checks import values
from afa_core.implementations import IMPLEMENTATIONS

from .attention import GOOD
from .cases import NOISE, array, diagonal, hosted, isotropic, ones, radial_tangential


@pytest.fixture
def arguments(library):
    """Good arguments of attention."""
    return hosted(GOOD, library, library)


def test_attention_itself_names_unknown_options(arguments):
    for name in ("temperature", "scale"):
        with pytest.raises(TypeError, match=f"'{name}'"):
            afa.attention(**arguments, **{name: 1.0})


def test_implementation_that_cannot_run_says_why(arguments, monkeypatch):
    unable = IMPLEMENTATIONS[-1]._replace(name="unable", refusal=lambda *_: "it has no kernel.")
    monkeypatch.setattr("afa_core.implementations.IMPLEMENTATIONS", (unable, *IMPLEMENTATIONS))
    with pytest.raises(ValueError, match="implementation") as caught:
        afa.attention(**arguments, implementation="unable")
    assert str(caught.value) == (
        "`implementation` 'unable' cannot run this problem: it has no kernel."
    )


def test_good_values_are_accepted(library):
    one_of_two = afa.Noise(0.0, array(0.0, 1.0), array(1.0, 0.0))
    models = (isotropic(decay=0), diagonal(noise=one_of_two), radial_tangential())
    weightings = (afa.StudentT(ones(2)), afa.Rational(1), afa.Gaussian(), afa.Uniform())
    for parameters in (*models, *weightings):
        hosted(parameters, library, library).validate()


def test_values_of_trained_parameters_are_read_without_warning(host):
    import torch

    host("torch")
    decay = torch.asarray([0.1, -2.0], requires_grad=True)
    with pytest.raises(ValueError, match="decay") as caught:
        afa.IsotropicSDE(decay, 1.0, NOISE).validate()
    assert str(caught.value) == "`decay` must be finite and ≥ 0, got -2."


def test_attention_does_not_read_values(arguments, library):
    """Bad values go through: checking them would break tracing and wait for the device."""
    arguments["sde"] = hosted(isotropic(decay=np.asarray(np.nan)), library, library)
    afa.attention(**arguments)


def test_checks_name_the_first_bad_field():
    with pytest.raises(ValueError, match="b") as caught:
        values.require_positive(a=1.0, b=-1.0, c=-2.0)
    assert str(caught.value) == "`b` must be finite and > 0, got -1."
