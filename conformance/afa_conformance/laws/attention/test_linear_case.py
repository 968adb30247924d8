"""With `Uniform()` weights on a regular grid attention is a convolution (spec §9)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import afa_core
from afa_conformance.comparisons import assert_estimate, assert_per_form
from afa_conformance.descriptions import FORMS, SIZES, Description
from afa_conformance.drawing import LimitedStrategy, descriptions, drawn
from afa_conformance.limits import skip_unsupported
from afa_conformance.oracles.direct import direct
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import DrawnProblem, condition
from afa_conformance.runner import arguments, as_interleaved, parts, run_estimate, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise, Uniform
from afa_core._array.arrays import namespace

pytestmark = pytest.mark.needs("library")

LENGTHS = ((1, 1), (2, 2), (3, 3), (31, 31), (32, 32), (33, 33), (65, 65), (1, 130), (129, 257))
FEW_LENGTHS = ((3, 3), (67, 67))
DECAYS = ("ordinary", "zero", "slow")
NOISES = {
    "stationary": (0.1, Noise(0.2, 1.0, 0.5)),
    "random walk": (0.0, Noise(1.0, 0.1, 0.0)),
    "rising weights": (0.5, Noise(0.0, 1.0, 0.0)),
    "weights that cease to rise": (0.1, Noise(1e-10, 1.0, 0.0)),
    "forgetting": (40.0, Noise(80.0, 1.0, 1.0)),
}
ATTENTION = partial(afa_core.attention, implementation="linear")
ESTIMATE = partial(afa_core.estimate, implementation="linear")


def linear(subject: Subject, problem: DrawnProblem) -> Subject:
    """Return the subject under `implementation="linear"`; skip where its library has no FFT."""
    positional, options = arguments(send(problem, subject))
    why = afa_core.explain(*positional, **options, implementation="reference").others["linear"]
    if "transform" in why:
        skip_unsupported(why)
    return replace(subject, implementation="linear", attention=ATTENTION, estimate=ESTIMATE)


def regular(**fixed: Any) -> LimitedStrategy[Description]:
    """Draw a description of the linear case."""
    return descriptions(
        weighting="uniform", times="default", masked=False, **({"form": list(FORMS)} | fixed)
    )


@drawn(description=regular(queries=[4, 2, 1], keys=4, size=list(SIZES)))
def test_double_sum(subject: Subject, description: Description) -> None:
    """Equations (4.1), (5.1) and (6.2) in 50 digits: mean and precision, in every regime.

    To 8 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    exact = double_sum(problem)
    found = run_estimate(problem, linear(subject, problem))
    tolerance = 8 * problem.eps * condition(problem)
    assert_estimate(found, (exact.mean, exact.precision), tolerance, subject)


@pytest.mark.many_shapes
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(4)
@drawn(
    lengths=lambda limits: st.sampled_from(FEW_LENGTHS if limits.few_shapes else LENGTHS),
    description=regular(form=None, causal=None, leading=[(), (2,)], decay=list(DECAYS)),
)
def test_every_size(
    subject: Subject, form: str, causal: bool, lengths: tuple[int, int], description: Description
) -> None:
    """Equation (3.1) at lengths on both sides of powers of two, and with fewer queries than keys.

    Mean and precision, to 8 ε √m times the condition of the problem.
    """
    queries, keys = lengths
    problem = sample_problem(
        description.having(
            form=form, causal=causal, queries=queries, keys=keys, value_modes=description.modes
        )
    )
    exact = direct(problem)
    found = run_estimate(problem, linear(subject, problem))
    tolerance = 8 * problem.eps * condition(problem) * np.sqrt(keys)
    assert_estimate(found, (exact.mean, exact.precision), tolerance, subject)


@pytest.mark.many_shapes
@pytest.mark.needs("float64")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("beta", "outlier"), [(1.0, 1.0), (3.0, 1.0), (1.0, 1e20)])
@pytest.mark.parametrize("noise", NOISES)
def test_rounding_is_local_to_each_row(
    subject: Subject, noise: str, beta: float, outlier: float, causal: bool
) -> None:
    """Spec §9: the error of a row is at most 32 ε max_j |E_ij v_j| over its visible keys.

    Values span 16 decades, or one of them exceeds all others, so that a row may be small beside
    others; and so may its weights be beside later ones, since weights rise with the lag where σ²/2μ
    < η².
    """
    size, (decay, variances) = 257, NOISES[noise]
    rng = np.random.default_rng(5)
    value = rng.normal(size=(size, 2)) * 10.0 ** rng.uniform(-8.0, 8.0, (size, 1)) + 0j
    value[40] *= outlier
    sde = IsotropicSDE(decay, 0.0, variances)
    problem = DrawnProblem(
        value, value, value, sde, Uniform(), inverse_temperature=beta, causal=causal
    )
    mean, _ = run_estimate(problem, linear(subject, problem))
    lag = np.subtract.outer(np.arange(size), np.arange(size))
    visible = (lag >= 0) | (not causal)
    decay_factor = np.where(visible, np.exp(-decay * np.abs(lag)), 0.0)
    largest = np.max(decay_factor[..., None] * np.abs(value), axis=1)
    subject.assert_close(
        mean / largest, direct(problem).mean / largest, 32 * problem.eps, scale=1.0
    )


@pytest.mark.parametrize("form", FORMS)
def test_leading_axes_of_queries(subject: Subject, form: str) -> None:
    """Spec §8.1: results have axes that only queries have, on which no weight depends, to 8 ε."""
    problem = sample_problem(
        Description(
            form=form, queries=4, keys=4, weighting="uniform", anchored=True,
            dtype=subject.dtype, layout="interleaved",
        )
    )  # fmt: skip
    under_test = linear(subject, problem)
    single = run_estimate(problem, under_test)
    several = run_estimate(replace(problem, query=np.stack([problem.query] * 3)), under_test)
    for x, y in zip(several, single, strict=True):
        for one, two in zip(parts(x), parts(y), strict=True):
            subject.assert_close(one, np.stack([two] * 3), 8 * problem.eps)


@pytest.mark.many_shapes
@pytest.mark.parametrize("what", [np.nan, np.inf])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_nonfinite_value(subject: Subject, form: str, causal: bool, what: float) -> None:
    """Spec §8.4: NaN or inf in a value propagates to its mode of the rows that attend to it.

    All other rows, all other modes (but not of the radial–tangential form) and the precision stay
    the same, to 8 ε.
    """
    size, token = 130, 70
    problem = sample_problem(
        Description(
            form=form, causal=causal, queries=size, keys=size, weighting="uniform",
            anchored=True, dtype=subject.dtype, layout="interleaved",
        )
    )  # fmt: skip
    under_test = linear(subject, problem)
    value = problem.value.copy()
    value[token, 1] = what
    with np.errstate(invalid="ignore"):
        mean, precision = run_estimate(replace(problem, value=value), under_test)
    finite_mean, finite_precision = run_estimate(problem, under_test)
    attending = np.arange(size) >= (token if causal else 0)
    assert not np.any(np.isfinite(mean[attending, 1]))
    subject.assert_close(mean[~attending], finite_mean[~attending], 8 * problem.eps)
    if form != "radial_tangential":
        subject.assert_close(mean[:, 0], finite_mean[:, 0], 8 * problem.eps)
    assert_per_form(precision, finite_precision, 8 * problem.eps, subject)


@pytest.mark.many_shapes
@pytest.mark.needs("gradients", "float64")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_match_the_reference(subject: Subject, form: str, causal: bool) -> None:
    """Spec §9: derivatives by values, decay and β equal those of the reference, to 1e-11.

    They are of Σ tanh over the entries of mean and precision.
    """
    assert subject.grad is not None
    size = 67
    description = Description(
        form=form, causal=causal, queries=size, keys=size, weighting="uniform",
        temperature="array", anchored=True,
    )  # fmt: skip
    problem = as_interleaved(sample_problem(description))
    linear(subject, problem)
    sent = send(problem, subject)

    def loss(implementation: str) -> Any:
        def total(value: Any, decay: Any, beta: Any) -> Any:
            xp = namespace(value=value)
            explicit = replace(
                sent, value=value, sde=sent.sde._replace(decay=decay), inverse_temperature=beta
            )
            positional, options = arguments(explicit)
            mean, precision = afa_core.estimate(
                *positional, **options, implementation=implementation
            )
            return sum(xp.sum(xp.tanh(x)) for x in (mean, *parts(precision)))

        return total

    at = (sent.value, sent.sde.decay, sent.inverse_temperature)
    found, expected = (subject.grad(loss(name), *at) for name in ("linear", "reference"))
    for one, other in zip(found, expected, strict=True):
        subject.assert_close(subject.to_numpy(one), subject.to_numpy(other), 1e-11)


REFUSED: dict[str, dict[str, Any]] = {
    r"only Uniform\(\) weights": {"weighting": "student"},
    "times are given": {"times": "regular"},
    "a mask is given": {"masked": True},
    "more queries than keys": {"queries": 5, "keys": 4},
}


@pytest.mark.asserts
@pytest.mark.parametrize("why", REFUSED)
def test_unsupported_problems_are_refused(subject: Subject, why: str) -> None:
    """Spec §9: requested by name, 'linear' raises ValueError with the reason that it cannot run.

    Under 'auto' another implementation runs instead.
    """
    plain = Description(weighting="uniform", dtype=subject.dtype, layout="interleaved")
    problem = sample_problem(plain.having(**REFUSED[why]))
    under_test = linear(subject, sample_problem(plain))
    with pytest.raises(ValueError, match=f"'linear' cannot run this problem: .*{why}"):
        run_estimate(problem, under_test)
    run_estimate(problem, subject)
