"""Simulated trajectories and their residuals have the moments of the model (spec §13)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.runner import read_modes, write_modes
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE
from afa_core.model.simulate import simulate

COUNT = 20_000
SPREAD = 5.0 / math.sqrt(COUNT)
"""Five standard errors of a mean over the trajectories, in standard deviations."""
DECAY, FREQUENCY = np.asarray([0.3, 0.0]), np.asarray([1.0, -2.0])
NOISE = Noise(np.asarray([0.9, 0.4]), np.asarray([0.2, 0.5]), 0.0)
START = np.asarray([1.0 + 1.0j, -0.5j])
TIMES = np.asarray([2.0, 2.5, 2.5, 4.0])


def sent(subject: Subject, sde: Any) -> Any:
    """Return the model with its arrays sent to the library."""
    if isinstance(sde, np.ndarray):
        return subject.from_numpy(sde)
    if isinstance(sde, tuple):
        return type(sde)(*(sent(subject, x) for x in sde))
    return sde


def draw(
    subject: Subject,
    sde: Any,
    start: NDArray[Any] = START,
    times: NDArray[Any] = TIMES,
    *,
    count: int = COUNT,
    seed: int = 0,
    layout: str = "complex",
    **options: Any,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return states and measurements of many trajectories, (count, n, d), in NumPy."""
    first = np.broadcast_to(start, (count, len(start)))
    if layout != "complex":
        options["layout"] = layout
    plain = layout in ("complex", "real")
    drawn = simulate(
        sent(subject, sde),
        subject.from_numpy(times),
        initial=subject.from_numpy(np.array(first) if plain else write_modes(first, layout)),
        rng=np.random.default_rng(seed),
        **options,
    )
    found = [np.asarray(subject.to_numpy(x)) for x in drawn]
    state, measured = found if plain else [read_modes(x, layout) for x in found]
    return state, measured


def propagated(decay: Any, process: Any, lag: Any) -> Any:
    """Return V(Δ)."""
    x = 2.0 * np.asarray(decay) * lag
    return process * lag * np.where(x > 0, -np.expm1(-x) / np.where(x > 0, x, 1.0), 1.0)


def test_first_two_moments(subject: Subject) -> None:
    """Spec §2: E x = e^{λt}x₀ and Cov(x_s, x_t) = e^{λ(t−s)}V(s), circular; E|z − x|² = η².

    Within 5 standard errors of 20 000 trajectories (7.5 for E x²). States at equal times are equal.
    """
    states, measured = draw(subject, DiagonalSDE(DECAY, FREQUENCY, NOISE))
    elapsed = TIMES - TIMES[0]
    eigenvalue = -DECAY + 1j * FREQUENCY
    mean = np.exp(eigenvalue * elapsed[:, None]) * START
    variance = propagated(DECAY, NOISE.process, elapsed[:, None])
    subject.assert_close(states[:, 0], np.broadcast_to(START, states[:, 0].shape), 1e-15)
    assert np.all(states[:, 1] == states[:, 2])
    error = states - mean
    assert np.all(np.abs(error.mean(0)) <= SPREAD * np.sqrt(variance))
    assert np.all(np.abs((np.abs(error) ** 2).mean(0) - variance) <= SPREAD * variance)
    assert np.all(np.abs((error**2).mean(0)) <= 1.5 * SPREAD * variance)
    cross = (error[:, 3] * error[:, 1].conj()).mean(0)
    expected = np.exp(eigenvalue * 1.5) * variance[1]
    assert np.all(np.abs(cross - expected) <= SPREAD * np.sqrt(variance[1] * variance[3]))
    noise = measured - states
    assert np.all(np.abs((np.abs(noise) ** 2).mean(0) / NOISE.measurement - 1.0) <= SPREAD)
    assert np.all(np.abs((noise**2).mean(0)) <= 1.5 * SPREAD * NOISE.measurement)


@pytest.mark.asserts
def test_residual_moments(subject: Subject) -> None:
    """Spec §13: Var r_ij = Σ, Cov(r_ij, r_il) = V(min) + γ² and E r² = 0.

    Within 5 standard errors of 20 000 trajectories (7.5 for E r²).
    """
    decay, process, measurement, query = 0.4, 0.8, 0.3, 0.5
    sde = IsotropicSDE(decay, np.asarray([1.3]), Noise(process, measurement, query))
    times = np.asarray([0.0, 0.7, 1.1, 2.4])
    states, z = draw(subject, sde, START[:1], times)
    rng = np.random.default_rng(1)
    query_noise = math.sqrt(query / 2.0) * (rng.normal(size=COUNT) + 1j * rng.normal(size=COUNT))
    lags = times[3] - times
    residual = states[:, 3] + query_noise[:, None] - np.exp((-decay + 1.3j) * lags) * z[..., 0]
    covariance = (residual[:, :, None] * residual[:, None, :].conj()).mean(0)
    least = np.minimum(lags[:, None], lags)
    expected = propagated(decay, process, least) + query
    expected = expected + np.diag(measurement * np.exp(-2.0 * decay * lags))
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.all(np.abs(covariance - expected) <= SPREAD * scale)
    assert np.all(np.abs((residual**2).mean(0)) <= 1.5 * SPREAD * np.diag(expected))


@pytest.mark.asserts
@pytest.mark.many_shapes
@pytest.mark.parametrize(("method", "substeps"), [("euler", 1), ("euler", 6), ("linearised", 1)])
@pytest.mark.parametrize("layout", ["complex", "real"])
def test_radial_tangential_moments(
    subject: Subject, method: str, substeps: int, layout: str
) -> None:
    """Spec §6: E x = e^{AT}x₀, E‖x‖² = e^{−2μT}‖x₀‖² + (σ_r² + (n−1)σ_t²)Tφ₁(−2μT).

    Within 5 standard errors of 20 000 trajectories, as are the variances along and across the
    state. n counts complex modes, with their total variances, or real channels.
    """
    start = np.asarray([1.0, 0.5, -0.3]) if layout == "real" else np.asarray([1 + 1j, 0.5, -0.3j])
    frequency = 0.0 if layout == "real" else np.asarray([1.0, -2.0, 0.5])
    sde = RadialTangentialSDE(0.3, frequency, Noise(0.9, 0.2, 0.0), Noise(0.2, 0.5, 0.0))
    span = 1.5
    times = np.asarray([0.0, span])
    states, measured = draw(
        subject, sde, start, times, method=method, substeps=substeps, layout=layout
    )
    last = states[:, 1]
    mean = np.exp((-0.3 + 1j * frequency) * span) * start
    unit = propagated(0.3, 1.0, span)
    assert np.all(np.abs(last.mean(0) - mean) <= SPREAD * np.sqrt(0.9 * unit))
    power = np.sum(np.abs(last) ** 2, axis=-1)
    expected = np.sum(np.abs(mean) ** 2) + (0.9 + 2 * 0.2) * unit
    assert abs(power.mean() - expected) <= SPREAD * power.std()
    for errors, ratio in ((measured - states, (0.2, 1.0)), (last - mean, None)):
        if ratio is None and method == "euler" and substeps > 1:
            continue
        error = errors[:, 0] if ratio else errors
        length = np.linalg.norm(start)
        direction = start / length if ratio else mean / np.linalg.norm(mean)
        along = np.abs(error @ direction.conj()) ** 2
        across = np.sum(np.abs(error) ** 2, axis=-1) - along
        radial, tangential = ratio or (0.9 * unit, 0.4 * unit)
        assert abs(along.mean() - radial) <= SPREAD * along.std()
        assert abs(across.mean() - tangential) <= SPREAD * across.std()


@pytest.mark.many_shapes
def test_noise_follows_the_state(subject: Subject) -> None:
    """Spec §6: under 'euler' radial noise keeps the ray of the state, to 1e-13.

    Tangential noise is orthogonal to the state, to 1e-12.
    """
    sde = RadialTangentialSDE(0.2, 0.0, Noise(0.5, 0.0, 0.0), Noise(0.0, 0.0, 0.0))
    start = np.asarray([1.0, 2.0, -2.0])
    states, measured = draw(subject, sde, start, count=50, substeps=3, layout="real")
    along = states @ (start / 3.0)
    subject.assert_close(states, along[..., None] * (start / 3.0), 1e-13)
    assert np.all(measured == states)
    across = RadialTangentialSDE(0.2, 0.0, Noise(0.0, 0.0, 0.0), Noise(0.5, 0.3, 0.0))
    states, measured = draw(subject, across, start, count=50, layout="real")
    shrunk = np.exp(-0.2 * np.diff(TIMES))[:, None] * states[:, :-1]
    step = np.sum((states[:, 1:] - shrunk) * states[:, :-1], axis=-1)
    subject.assert_close(step, np.zeros_like(step), 1e-12)
    radial_part = np.sum((measured - states) * states, axis=-1)
    subject.assert_close(radial_part, np.zeros_like(radial_part), 1e-12)


@pytest.mark.many_shapes
def test_noise_follows_the_nominal_direction(subject: Subject) -> None:
    """Spec §6: under 'linearised' the direction is that of e^{iωt}x₀, whatever the state.

    Tangential noise is orthogonal to it, to 1e-12.
    """
    sde = RadialTangentialSDE(0.2, FREQUENCY, Noise(0.0, 0.0, 0.0), Noise(0.5, 0.3, 0.0))
    states, measured = draw(subject, sde, count=50, method="linearised")
    nominal = np.exp(1j * FREQUENCY * (TIMES - TIMES[0])[:, None]) * START
    along = np.sum(states * nominal.conj(), axis=-1)
    length = np.exp(-0.2 * (TIMES - TIMES[0])) * np.sum(np.abs(START) ** 2)
    subject.assert_close(along, np.broadcast_to(length, along.shape), 1e-12)
    radial_part = np.sum((measured - states) * nominal.conj(), axis=-1)
    subject.assert_close(radial_part, np.zeros_like(radial_part), 1e-12)


@pytest.mark.asserts
@pytest.mark.many_shapes
def test_at_rest_all_noise_is_tangential(subject: Subject) -> None:
    """Spec §6: a zero state has no direction, so radial noise alone leaves it exactly zero."""
    sde = RadialTangentialSDE(0.2, 0.0, Noise(0.5, 0.5, 0.0), Noise(0.0, 0.0, 0.0))
    states, measured = draw(subject, sde, np.zeros(3), count=5, layout="real")
    assert not np.any(states)
    assert not np.any(measured)


@pytest.mark.many_shapes
@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "radial_tangential"])
def test_without_noise_it_is_the_flow(subject: Subject, kind: str) -> None:
    """Spec §1: without noise x(t) = e^{λt}x₀, to 1e-14, in every layout, with integer times too.

    Measurements are bitwise the states.
    """
    none = Noise(0.0, 0.0, 0.0)
    sde = {
        "isotropic": IsotropicSDE(0.3, FREQUENCY, none),
        "diagonal": DiagonalSDE(np.asarray([0.3, 0.3]), FREQUENCY, none),
        "radial_tangential": RadialTangentialSDE(0.3, FREQUENCY, none, none),
    }[kind]
    for layout in ("complex", "interleaved", "halves"):
        for times in (np.asarray([-1, 0, 3]), np.asarray([0.0, 1.0, 4.0]) + 1e9):
            states, measured = draw(subject, sde, times=times, count=2, layout=layout)
            flow = np.exp((-0.3 + 1j * FREQUENCY) * (times - times[0])[:, None]) * START
            subject.assert_close(states, np.broadcast_to(flow, states.shape), 1e-14)
            assert np.all(measured == states)


def test_layouts_draw_the_same(subject: Subject) -> None:
    """Spec §8.1: the layout does not change the trajectory, to 1e-15."""
    sde = IsotropicSDE(0.3, FREQUENCY, Noise(0.5, 0.3, 0.0))
    whole = draw(subject, sde, count=3)
    for layout in ("interleaved", "halves"):
        for one, other in zip(whole, draw(subject, sde, count=3, layout=layout), strict=True):
            subject.assert_close(other, one, 1e-15)


@pytest.mark.many_shapes
def test_parameters_for_each_trajectory(subject: Subject) -> None:
    """Spec §8: leading axes of parameters and times broadcast with those of the start, to 1e-14."""
    rng = np.random.default_rng(0)
    sde = IsotropicSDE(np.asarray([0.1, 2.0]), 0.5, Noise(np.asarray([0.0, 0.0]), 0.0, 0.0))
    times = np.cumsum(rng.uniform(size=(3, 1, 4)), axis=-1)
    drawn = simulate(
        sent(subject, sde),
        subject.from_numpy(times),
        initial=subject.from_numpy(START),
        rng=rng,
    )
    states = subject.to_numpy(drawn.state)
    elapsed = (times - times[..., :1])[..., None]
    rate = -np.asarray([0.1, 2.0])[:, None, None] + 0.5j
    subject.assert_close(states, np.exp(rate * elapsed) * START, 1e-14)
