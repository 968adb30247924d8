"""The likelihood of a fit: dense and sequential computations, and its derivatives."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from afa_core.timeseries import Filter
from afa_core.timeseries.likelihood import (
    Density,
    Parameters,
    Problem,
    evaluate,
    reweighted,
)
from afa_core.timeseries.reweighting import normal_scale

TIMES = np.asarray([0.0, 0.3, 0.3, 1.0, 2.5, 2.5, 2.5, 4.0, 9.0, 9.5, 20.0, 20.1])
MISSING = [0, 4, 9]
CASES = {
    "walk": (0.0, 0.5, 0.7, 0.0, 0.0),
    "reverting": (0.4, 0.5, 0.7, -1.5, 0.0),
    "slow": (1e-7, 0.5, 0.7, 3.0, 0.0),
    "fast": (30.0, 5.0, 0.7, 0.4, 0.0),
    "without process noise": (0.0, 0.0, 0.7, 0.0, 0.0),
    "reverting without process noise": (0.2, 0.0, 0.7, 2.0, 0.0),
    "precise": (0.1, 2.0, 1e-6, 0.5, 0.0),
    "rotating": (0.2, 0.5, 0.7, 1.0 - 2.0j, 0.8),
    "rotating backwards": (0.0, 0.5, 0.7, 0.0, -3.0),
    "pair that does not rotate": (0.3, 0.5, 0.7, 0.5 + 1.0j, 0.0),
}


def measured(seed=0, paired=False):
    rng = np.random.default_rng(seed)
    values = 2.0 * rng.standard_normal((len(TIMES), 2 if paired else 1))
    values[MISSING] = np.nan
    return values


def transition(parameters, lag, parts):
    """Return the transition of the components, (parts, parts), and the variance gained."""
    decay, process, _, _, frequency = parameters
    c, s = np.cos(frequency * lag), np.sin(frequency * lag)
    rotation = np.asarray([[c, -s], [s, c]])[:parts, :parts]
    gained = lag if decay == 0.0 else -np.expm1(-2.0 * decay * lag) / (2.0 * decay)
    return np.exp(-decay * lag) * rotation, process * gained


def components(level, parts):
    return np.asarray([np.real(level), np.imag(level)])[:parts]


def dense_log_density(times, values, parameters):
    """Return the log-density of all measurements given the first, from their joint covariance."""
    count, parts = values.shape
    level = components(parameters[3], parts)
    root = np.zeros((count * parts, count * parts))  # of the covariance of the states
    blocks = root.reshape(count, parts, count, parts)
    mean = np.zeros((count, parts))
    blocks[0, :, 0, :] = np.sqrt(parameters[2]) * np.eye(parts)  # of the state, given the first
    mean[0] = values[0] - level
    for i in range(1, count):
        step, gained = transition(parameters, times[i] - times[i - 1], parts)
        blocks[i] = np.einsum("ab,bjc->ajc", step, blocks[i - 1])
        blocks[i, :, i, :] = np.sqrt(gained) * np.eye(parts)
        mean[i] = step @ mean[i - 1]
    later = root[parts:]
    covariance = later @ later.T + parameters[2] * np.eye(len(later))
    normal = stats.multivariate_normal((mean + level)[1:].ravel(), covariance)
    return normal.logpdf(values[1:].ravel())


@pytest.mark.parametrize("case", CASES)
def test_normal_likelihood_is_the_joint_density_given_the_first(case):
    parameters = CASES[case]
    paired = isinstance(parameters[3], complex) or parameters[4] != 0.0
    values = measured(paired=paired)
    shown = np.isfinite(values[:, 0])
    right = dense_log_density(TIMES[shown], values[shown], parameters)
    given = values[:, 0] + 1j * values[:, 1] if paired else values
    model = Filter(*parameters, robust=False).fit(TIMES, given)
    assert model.log_likelihood_ == pytest.approx(right, rel=1e-9)
    assert model.aic_ == -2.0 * model.log_likelihood_


def sequential_log_density(times, values, parameters, dof):
    """Return the log-density about a filter that weights its measurements, row by row."""
    parts = values.shape[1]
    level, total = components(parameters[3], parts), parts * dof
    scale = normal_scale(total, parts)
    density, mean, variance = 0.0, None, None
    for i in np.flatnonzero(np.isfinite(values[:, 0])):
        if mean is None:
            mean, variance, last = values[i] - level, parameters[2], i
            continue
        step, gained = transition(parameters, times[i] - times[last], parts)
        predicted = step @ mean
        ahead = np.exp(-2.0 * parameters[0] * (times[i] - times[last])) * variance + gained
        innovation, expected = values[i] - level - predicted, ahead + parameters[2]
        student = stats.multivariate_t(
            shape=scale * expected * np.eye(parts), df=total, allow_singular=False
        )
        density += student.logpdf(innovation)
        square = innovation @ innovation / expected
        reliability = min(1.0, (total + 4.0 * parts) / (total + square))
        gain = ahead / (ahead + parameters[2] / reliability)
        mean, variance, last = predicted + gain * innovation, (1.0 - gain) * ahead, i
    return density


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dof", [1.0, 4.0])
def test_robust_likelihood_is_that_of_the_loop(case, dof):
    parameters = CASES[case]
    paired = isinstance(parameters[3], complex) or parameters[4] != 0.0
    values = measured(paired=paired)
    values[6] += 30.0
    right = sequential_log_density(TIMES, values, parameters, dof)
    given = values[:, 0] + 1j * values[:, 1] if paired else values
    model = Filter(*parameters, dof=dof).fit(TIMES, given)
    assert model.log_likelihood_ == pytest.approx(right, rel=1e-9)


@pytest.mark.parametrize("robust", [True, False])
def test_given_what_was_fitted_the_likelihood_is_the_same(robust, simulate):
    series = simulate(0.05, 0.3, n=300, outliers=0.05)
    names = ("decay", "process", "measurement", "level")
    fitted = Filter(robust=robust).fit(series.times, series.values)
    parameters = {name: getattr(fitted, f"{name}_") for name in names}
    again = Filter(**parameters, robust=robust).fit(series.times, series.values)
    assert again.log_likelihood_ == pytest.approx(fitted.log_likelihood_, abs=1e-6)
    assert fitted.aic_ == pytest.approx(8.0 - 2.0 * fitted.log_likelihood_)


def problem_of(simulate, paired, dof, seed=1):
    """Two series of which the second starts later, with reliabilities of their own."""
    frequency = 0.4 if paired else None
    each = [
        simulate(0.1, 0.3, frequency=frequency, n=60, seed=seed + k, outliers=0.1) for k in (0, 1)
    ]
    values = np.stack([x.values for x in each])
    if paired:
        values = values[..., 0] + 1j * values[..., 1]
    values[1, :7] = np.nan
    times = np.floor(each[0].times)  # ties
    observed = np.isfinite(values)
    reliability = np.random.default_rng(seed).uniform(0.1, 1.0, values.shape)
    numbers = np.where(observed, values, 0.0)
    return Problem(numbers, times, observed, reliability, Density.of(1 + paired, dof))


TABLES = {
    False: np.asarray([[-2.0, -1.0, 0.2, 0.7], [-30.0, -3.0, -1.0, -1.0]]),
    True: np.asarray([[-2.0, -1.0, 0.2, 0.7, 0.1, 0.3], [-4.0, -3.0, -1.0, -1.0, 0.2, -0.9]]),
}


@pytest.mark.parametrize("dof", [None, 3.0])
@pytest.mark.parametrize("paired", [False, True])
def test_gradients_are_differences(simulate, paired, dof):
    problem, table = problem_of(simulate, paired, dof), TABLES[paired]
    grad = evaluate(problem, Parameters(table)).grad
    for place in range(table.shape[1]):
        change = np.zeros_like(table)
        change[:, place] = 1e-5
        above, below = (evaluate(problem, Parameters(table + s * change)).loss for s in (1, -1))
        np.testing.assert_allclose(grad[:, place], (above - below) / 2e-5, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dof", [None, 3.0])
@pytest.mark.parametrize("paired", [False, True])
def test_information_is_the_mean_product_of_gradients(paired, dof):
    """Of data from the density of one time step, whose gradients are independent."""
    rng, count, parts = np.random.default_rng(0), 20_000, 1 + paired
    table = TABLES[paired][:1]
    density = Density.of(parts, dof)
    error = rng.standard_normal((count, parts))
    if dof is not None:
        total = density.dof
        error *= np.sqrt(density.scale * total / rng.chisquare(total, count))[:, None]
    level = table[0, 3 : 3 + parts]
    first = level + 1.3
    parameters = (*np.exp(table[0, :3]), 0.0, table[0, 5] if paired else 0.0)
    step, gained = transition(parameters, 1.0, parts)
    expected = parameters[2] * (1.0 + np.exp(-2.0 * parameters[0])) + gained
    second = level + step @ (first - level) + np.sqrt(expected) * error
    values = np.stack([np.broadcast_to(first, second.shape), second], axis=1)
    values = values[..., 0] + 1j * values[..., 1] if paired else values[..., 0]
    observed = np.ones(values.shape, dtype=bool)
    problem = Problem(values, np.asarray([0.0, 1.0]), observed, np.ones(values.shape), density)
    found = evaluate(problem, Parameters(np.broadcast_to(table, (count, table.shape[1]))))
    products = np.mean(found.grad[:, :, None] * found.grad[:, None, :], axis=0)
    size = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    np.testing.assert_allclose(found.information[0] / size, products / size, atol=0.05)


@pytest.mark.parametrize(("dof", "parts"), [(1.0, 1), (4.0, 1), (30.0, 1), (2.0, 2), (8.0, 2)])
def test_scale_fits_normal_data(dof, parts):
    """The expected Student-t log-density of a standard normal is largest at that scale."""
    normal = stats.multivariate_normal(np.zeros(parts))
    radius = np.linspace(0.0, 12.0, 4001)
    weight = normal.pdf(np.stack([radius] + [0.0 * radius] * (parts - 1), axis=-1))
    weight = weight * (2.0 if parts == 1 else 2.0 * np.pi * radius)

    def expected_loss(scale):
        loss = 0.5 * (dof + parts) * np.log1p(radius**2 / (dof * scale))
        return integrate.simpson(weight * loss, x=radius) + 0.5 * parts * np.log(scale)

    found = optimize.minimize_scalar(
        expected_loss, bounds=(1e-3, 2.0), method="bounded", options={"xatol": 1e-10}
    )
    assert normal_scale(dof, parts) == pytest.approx(found.x, rel=1e-5)


def test_reliabilities_are_those_of_their_own_innovations(simulate):
    problem = problem_of(simulate, paired=False, dof=4.0)
    parameters = Parameters(TABLES[False])
    settled = reweighted(problem, parameters)
    again = reweighted(settled._replace(reliability=np.ones_like(problem.reliability)), parameters)
    np.testing.assert_allclose(settled.reliability, again.reliability, atol=1e-7)
