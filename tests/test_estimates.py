"""What follows from an estimate, against the literal formulas of spec §10."""

import numpy as np
import pytest
from scipy.linalg import expm

import afa_core as afa

NOISE = afa.Noise(0.3, 1.0, 0.5)
FORMS = ("isotropic", "diagonal", "radial-tangential")
forms = pytest.mark.parametrize("form", FORMS)


def model(form, array=np.asarray, value_frequency=None):
    frequency = array(np.asarray([0.7, -1.1]))
    if form == "isotropic":
        return afa.IsotropicSDE(0.2, frequency, NOISE, value_frequency)
    if form == "diagonal":
        noise = afa.Noise(array(np.asarray([0.3, 0.5])), 1.0, array(np.asarray([0.5, 0.2])))
        return afa.DiagonalSDE(array(np.asarray([0.2, 0.6])), frequency, noise)
    return afa.RadialTangentialSDE(0.2, frequency, NOISE, afa.Noise(0.1, 0.5, 0.5), value_frequency)


def eigenvalues(sde, field="frequency"):
    return -np.broadcast_to(sde.decay, (2,)) + 1j * getattr(sde, field)


def modes(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def interleave(z):
    return np.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:-1], -1)


def halve(z):
    return np.concatenate([z.real, z.imag], axis=-1)


LAYOUTS = pytest.mark.parametrize(
    ("write", "layout"),
    [(np.asarray, "interleaved"), (interleave, "interleaved"), (halve, "halves")],
)


# Prediction


@forms
@LAYOUTS
def test_prediction_is_the_flow_of_the_mean(form, write, layout, library):
    sde, mean = model(form), modes(3, 2)
    ahead = np.asarray([0.0, 0.5, 2.0])
    hosted = model(form, library.from_numpy)
    given = library.from_numpy(write(mean))
    for horizon, each in ((0.7, np.full(3, 0.7)), (library.from_numpy(ahead), ahead)):
        found = library.to_numpy(afa.predict(given, hosted, horizon, layout=layout))
        exact = np.stack(
            [expm(np.diag(eigenvalues(sde)) * h) @ x for h, x in zip(each, mean, strict=True)]
        )
        assert found.dtype == library.to_numpy(given).dtype
        np.testing.assert_allclose(found, write(exact), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", ["isotropic", "radial-tangential"])
def test_prediction_turns_at_the_frequencies_of_the_values(form):
    sde = model(form, value_frequency=np.asarray([0.1, 0.2, 0.3]))
    mean = modes(4, 3)
    exact = np.exp(-0.2 * 1.5 + 1j * np.asarray([0.1, 0.2, 0.3]) * 1.5) * mean
    np.testing.assert_allclose(afa.predict(mean, sde, 1.5), exact, rtol=1e-12)


def test_prediction_keeps_half_precision(host):
    import torch

    host("torch")
    mean = torch.asarray(interleave(modes(3, 2)), dtype=torch.bfloat16)
    found = afa.predict(mean, afa.IsotropicSDE(0.2, 0.7, NOISE), 1.0)
    exact = afa.predict(mean.double(), afa.IsotropicSDE(0.2, 0.7, NOISE), 1.0)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=1e-2, atol=1e-2)


def test_predictions_compose():
    sde, mean = model("diagonal"), modes(3, 2)
    twice = afa.predict(afa.predict(mean, sde, 0.4), sde, 0.8)
    np.testing.assert_allclose(twice, afa.predict(mean, sde, 1.2), rtol=1e-12)


# Innovation and gate


def test_innovation_is_what_the_filter_adds(library):
    mean, value = modes(2, 3, 2), modes(3, 2, seed=1)
    found = afa.innovation(library.from_numpy(mean), library.from_numpy(value))
    np.testing.assert_array_equal(library.to_numpy(found), mean - value)


def test_gate_is_the_share_of_the_precision(library):
    precision = np.asarray([[0.0, 1.0], [3.0, 1e300]])
    for prior in (3.0, np.asarray([3.0, 0.5])):
        given = library.from_numpy(prior) if isinstance(prior, np.ndarray) else prior
        found = library.to_numpy(afa.gate(library.from_numpy(precision), given))
        np.testing.assert_allclose(found, precision / (precision + prior), rtol=1e-15)
        assert found[0, 0] == 0.0
    pair = afa.RadialTangential(library.from_numpy(precision), library.from_numpy(precision + 1))
    found = afa.gate(pair, 3.0)
    assert isinstance(found, afa.RadialTangential)
    expected = (precision + 1) / (precision + 4)
    np.testing.assert_allclose(library.to_numpy(found.tangential), expected, rtol=1e-15)


def test_gate_keeps_the_value_of_a_query_that_sees_no_key():
    value = modes(2, 2)
    mask = np.asarray([[True, False], [False, False]])
    mean, precision = afa.estimate(value, value, value, model("isotropic"), mask=mask)
    g = afa.gate(precision, 1.0)[:, None]
    np.testing.assert_array_equal((g * mean + (1 - g) * value)[1], value[1])


# Sampling: many draws at once, so that their moments are known to a percent.

DRAWS = 40_000


def draws(precision, write, layout, library, **options):
    """Samples of two modes about 1 + 2j, as complex NumPy numbers, (draws, 2)."""
    mean = np.broadcast_to(np.asarray([1 + 2j, 1 + 2j]), (DRAWS, 2))
    convert = library.from_numpy
    if isinstance(precision, tuple):
        precision = afa.RadialTangential(*(convert(p) for p in precision))
    else:
        precision = convert(precision)
    estimate = afa.Estimate(convert(write(mean).copy()), precision)
    options = {n: convert(x) if isinstance(x, np.ndarray) else x for n, x in options.items()}
    found = afa.sample(estimate, rng=np.random.default_rng(0), layout=layout, **options)
    assert found.dtype == estimate.mean.dtype
    found = library.to_numpy(found)
    if layout == "halves":
        return found[:, :2] + 1j * found[:, 2:]
    return found if write is np.asarray else found[:, ::2] + 1j * found[:, 1::2]


@LAYOUTS
def test_samples_have_the_variance_of_the_estimate(write, layout, library):
    """1/p + γ², half on each part, the parts and the modes independent."""
    z = draws(np.full(DRAWS, 4.0), write, layout, library, query_noise=0.75) - (1 + 2j)
    parts = np.concatenate([z.real, z.imag], axis=1)  # (draws, 4)
    assert abs(parts.mean(axis=0)).max() < 4 / np.sqrt(2 * DRAWS)
    np.testing.assert_allclose(np.cov(parts.T), 0.5 * np.eye(4), atol=0.02)


def test_samples_have_the_variance_of_each_mode(library):
    precision = np.broadcast_to(np.asarray([0.5, 8.0]), (DRAWS, 2)).copy()
    noise = np.asarray([0.0, 1.0])
    z = draws(precision, np.asarray, "interleaved", library, query_noise=noise) - (1 + 2j)
    np.testing.assert_allclose((abs(z) ** 2).mean(axis=0), [2.0, 1.125], rtol=0.03)
    np.testing.assert_allclose((z.real**2).mean(axis=0), [1.0, 0.5625], rtol=0.03)


def test_samples_stretch_along_the_anchor(library):
    """Variance 1/p_r + γ² along the anchor, 1/p_t + γ² across it, in complex directions."""
    u = np.asarray([0.6, 0.8j])
    anchor = np.broadcast_to(3.0 * u, (DRAWS, 2)).copy()
    precision = (np.full(DRAWS, 0.25), np.full(DRAWS, 4.0))
    z = draws(precision, np.asarray, "interleaved", library, anchor=anchor, query_noise=0.5)
    z = z - (1 + 2j)
    along = z @ u.conj()
    across = z @ np.asarray([0.8, -0.6j]).conj()
    assert abs((abs(along) ** 2).mean() - 4.5) < 0.1
    assert abs((abs(across) ** 2).mean() - 0.75) < 0.02
    assert abs((along * across.conj()).mean()) < 0.05
    assert abs((along.real**2).mean() - 2.25) < 0.07


def test_samples_without_a_direction_are_tangential(library):
    precision = (np.full(DRAWS, 0.25), np.full(DRAWS, 4.0))
    anchor = np.zeros((DRAWS, 2), complex)
    z = draws(precision, np.asarray, "interleaved", library, anchor=anchor) - (1 + 2j)
    np.testing.assert_allclose((abs(z) ** 2).mean(axis=0), 0.25, rtol=0.03)


def test_samples_of_heads_that_only_the_precision_has_are_independent(library):
    estimate = afa.Estimate(
        library.from_numpy(np.zeros((1, 3, 2), complex)), library.from_numpy(np.ones((5, 3)))
    )
    found = library.to_numpy(afa.sample(estimate, rng=np.random.default_rng(0)))
    assert found.shape == (5, 3, 2)
    assert len(np.unique(found.real)) == 30


def test_samples_repeat_with_the_generator(library):
    estimate = afa.Estimate(library.from_numpy(modes(3, 2)), library.from_numpy(np.ones(3)))
    first, second = (afa.sample(estimate, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(library.to_numpy(first), library.to_numpy(second))


def test_samples_are_alike_on_every_library(library):
    mean, precision = modes(4, 2), np.random.default_rng(1).uniform(0.5, 2.0, (4, 2))
    exact = afa.sample(afa.Estimate(mean, precision), rng=np.random.default_rng(3))
    given = afa.Estimate(library.from_numpy(mean), library.from_numpy(precision))
    found = library.to_numpy(afa.sample(given, rng=np.random.default_rng(3)))
    np.testing.assert_allclose(found, exact, rtol=1e-12)


# A constant input


@forms
@LAYOUTS
def test_equilibrium_is_where_the_flow_rests(form, write, layout, library):
    u, sde = modes(3, 2), model(form)
    hosted = model(form, library.from_numpy)
    found = afa.equilibrium(hosted, library.from_numpy(write(u)), layout=layout)
    exact = -u / eigenvalues(sde)
    np.testing.assert_allclose(library.to_numpy(found), write(exact), rtol=1e-12, atol=1e-15)


def affine_flow(sde, u, x, lag):
    """x(t + lag) of dx/dt = λx + u, by the exponential of the augmented matrix; no equilibrium."""
    augmented = np.zeros((3, 3), complex)
    augmented[:2, :2] = np.diag(eigenvalues(sde))
    augmented[:2, 2] = u
    return (expm(augmented * lag) @ np.append(x, 1.0))[:2]


def covariance(noise, decay, lag):
    """Σ of equation (2.2) from its integral, per mode."""
    s, w = np.polynomial.legendre.leggauss(20)
    s = lag * (s + 1) / 2
    propagated = noise.process * lag / 2 * (w * np.exp(-2 * decay * s)).sum()
    return propagated + noise.measurement * np.exp(-2 * decay * lag) + noise.query


def covariance_matrix(sde, lag, direction):
    if isinstance(sde, afa.IsotropicSDE):
        return covariance(sde.noise, sde.decay, lag) * np.eye(2)
    if isinstance(sde, afa.DiagonalSDE):
        per_mode = [np.broadcast_to(x, (2,)) for x in sde.noise]
        variances = [
            covariance(afa.Noise(*(x[k] for x in per_mode)), sde.decay[k], lag) for k in range(2)
        ]
        return np.diag(variances)
    along = np.outer(direction, direction.conj()) / np.linalg.norm(direction) ** 2
    radial = covariance(sde.radial_noise, sde.decay, lag)
    tangential = covariance(sde.tangential_noise, sde.decay, lag)
    return radial * along + tangential * (np.eye(2) - along)


def literal(sde, query, key, value, carry, lags, anchor, dof=4.0):
    """Equation (3.1) as a double sum of matrices; `carry` moves a token by a lag."""
    means = []
    for i, q in enumerate(query):
        left, right = np.zeros((2, 2), complex), np.zeros(2, complex)
        for j in range(i + 1):
            lag = lags[i, j]
            residual = q - carry(key[j], lag)
            sigma = covariance_matrix(sde, lag, q)
            distance = (residual.conj() @ np.linalg.solve(sigma, residual)).real
            weight = (1 + distance / (dof * 2)) ** -(dof + 1)
            inverse = weight * np.linalg.inv(covariance_matrix(sde, lag, anchor[i]))
            left += inverse
            right += inverse @ carry(value[j], lag)
        means.append(np.linalg.solve(left, right))
    return np.stack(means)


def time_lags(query_times, key_times):
    return query_times[:, None] - key_times[None, :]


@forms
def test_constant_input_moves_the_origin(form, library, call):
    """Attention about b is the literal estimator with the affine flow in place of e^{λΔ}.

    The isotropic and diagonal forms know one direction, the anchor of the shifted value.
    """
    sde, hosted = model(form), model(form, library.from_numpy)
    u = np.asarray([0.4 - 0.3j, -0.2 + 0.9j])
    query, key, value = modes(3, 5, 2)
    times = np.asarray([0.0, 0.5, 0.9, 2.0, 3.1])
    b = afa.equilibrium(hosted, library.from_numpy(u))
    shifted = [library.from_numpy(x) - b for x in (query, key, value)]
    hosted_times = library.from_numpy(times)
    found = call(afa.attention, *shifted, hosted, key_times=hosted_times) + b

    rest = -u / eigenvalues(sde)

    def carry(x, lag):
        return affine_flow(sde, u, x + rest, lag) - rest

    about = literal(
        sde, query - rest, key - rest, value - rest, carry, time_lags(times, times), value - rest
    )
    np.testing.assert_allclose(library.to_numpy(found), about + rest, rtol=1e-10)


@pytest.mark.parametrize("form", ["isotropic", "diagonal"])
def test_constant_input_never_needs_the_origin(form):
    """Without directions the literal estimator can be formed in the original coordinates."""
    sde, u = model(form), np.asarray([0.4 - 0.3j, -0.2 + 0.9j])
    query, key, value = modes(3, 5, 2)
    times = np.asarray([0.0, 0.5, 0.9, 2.0, 3.1])
    b = afa.equilibrium(sde, u)
    found = afa.attention(query - b, key - b, value - b, sde, key_times=times) + b
    exact = literal(
        sde,
        query,
        key,
        value,
        lambda x, lag: affine_flow(sde, u, x, lag),
        time_lags(times, times),
        value,
    )
    np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_equilibrium_follows_a_noiseless_trajectory():
    """x(t) of the affine equation is found again from its own tokens."""
    sde, u = model("isotropic"), np.asarray([0.4 - 0.3j, -0.2 + 0.9j])
    times = np.asarray([0.0, 0.7, 1.1, 4.0])
    path = np.stack([affine_flow(sde, u, np.asarray([1.0, 2.0j]), t) for t in times])
    b = afa.equilibrium(sde, u)
    found = afa.attention(path - b, path - b, path - b, sde, key_times=times) + b
    np.testing.assert_allclose(found, path, rtol=1e-12)


# A key delay


@forms
def test_key_delay_adds_to_every_lag(form, library, call):
    """Δ + δ in decay, covariance and phase, while causality stays with the order of the tokens."""
    sde, hosted = model(form), model(form, library.from_numpy)
    query, key, value = modes(3, 5, 2)
    times, delay = np.asarray([0.0, 0.5, 0.9, 2.0, 3.1]), 0.8
    given = library.from_numpy(times)
    tokens = [library.from_numpy(x) for x in (query, key, value)]
    delayed = afa.delay_keys(given, delay)
    found = call(afa.attention, *tokens, hosted, query_times=given, key_times=delayed)

    def carry(x, lag):
        return np.exp(eigenvalues(sde) * lag) * x

    exact = literal(sde, query, key, value, carry, time_lags(times, times) + delay, value)
    np.testing.assert_allclose(library.to_numpy(found), exact, rtol=1e-10)


def test_key_delay_of_each_head():
    sde, x = model("isotropic"), modes(2, 5, 2)
    times, delays = np.arange(5.0), np.asarray([0.0, 1.5])
    delayed = afa.delay_keys(times, delays)
    assert delayed.shape == (2, 5)
    found = afa.attention(x, x, x, sde, query_times=times, key_times=delayed)
    for head, delay in enumerate(delays):
        keys = afa.delay_keys(times, float(delay))
        one = afa.attention(*[x[head]] * 3, sde, query_times=times, key_times=keys)
        np.testing.assert_allclose(found[head], one, rtol=1e-12)
