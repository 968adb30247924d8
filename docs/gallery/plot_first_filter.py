r"""
A first filter
==============

From the Kalman filter to attention, in one series: a damped oscillation, measured at
irregular times, with a few measurements that are wrong. Attention with uniform weights
*is* the Kalman filter. Attention with robust weights gives almost no weight to
outliers, which the Kalman filter follows.

.. code-block:: sh

    python -m pip install -c constraints.txt '.[numpy]' matplotlib

The model
---------

A pendulum in wind: its deflection and its scaled velocity are the two parts of one
complex number :math:`x`, which rotates, decays, and is driven by noise,

.. math:: dx = (-\mu + i\omega)\,x\,dt + \sigma\,dw,\qquad z_j = x(t_j) + v_j .

All variances are those of a complex number: half of each falls on either part.
"""

import matplotlib.pyplot as plt
import numpy as np

import afa_core as afa

decay, frequency = 0.05, 1.5  # 1/s, rad/s
noise = afa.Noise(process=0.2, measurement=0.5, query=0.5)  # mm²/s, mm², mm²
sde = afa.IsotropicSDE(decay, np.asarray([frequency]), noise)

rng = np.random.default_rng(4)
times = np.cumsum(rng.exponential(0.25, size=240))  # s
drawn = afa.simulate(sde, times, initial=np.asarray([3.0, 0.0]), rng=rng)
state = drawn.state.view(complex)[:, 0]
wrong = rng.random(240) < 0.06
error = 6.0 * (rng.standard_normal(240) + 1j * rng.standard_normal(240))
measured = drawn.measurements.view(complex)[:, 0] + wrong * error
print(f"{len(times)} measurements in {times[-1]:.0f} s, {wrong.sum()} of them wrong")

# %%
# The Kalman filter
# -----------------
#
# The filter carries its estimate over the time since the last measurement, which adds
# the variance :math:`V=\sigma^2(1-e^{-2\mu\Delta})/2\mu`, and corrects it by the gain
# :math:`K` times what it did not expect. In NumPy:


def kalman_filter(measured, times):
    """Return the estimates of the state, and their variances."""
    mean, variance = [measured[0]], [noise.measurement]
    for z, lag in zip(measured[1:], np.diff(times), strict=True):
        predicted = np.exp((-decay + 1j * frequency) * lag) * mean[-1]
        kept = np.exp(-2 * decay * lag)
        uncertain = kept * variance[-1] + noise.process * (1 - kept) / (2 * decay)
        gain = uncertain / (uncertain + noise.measurement)
        mean.append(predicted + gain * (z - predicted))
        variance.append(gain * noise.measurement)
    return np.asarray(mean), np.asarray(variance)


exact, variance = kalman_filter(measured, times)

# %%
# The same, by attention
# ----------------------
#
# Now every measurement is a token. A query attends to all tokens up to its own, as in a
# causal transformer: the keys are carried to its time by the model, and weighted. With
# ``correlated=True`` and uniform weights these weights are the filter's, and nothing is
# recursive any more. A complex array of shape (240, 1) is 240 tokens of one mode.

z = measured[:, None]
options = {"correlated": True, "query_times": times, "key_times": times}
linear = afa.estimate(z, z, z, sde, weighting=afa.Uniform(), **options)

difference = np.max(np.abs(linear.mean[:, 0] - exact))
print(f"greatest difference from the Kalman filter: {difference:.0e} mm")
assert difference < 1e-12
assert np.allclose(1 / linear.precision, variance, rtol=1e-12)

# %%
# The inverse of the precision is the filter's variance. This is the whole of the
# connection; the :doc:`specification </specification>`, §14, derives it.
#
# Robust weights
# --------------
#
# The Kalman filter trusts all measurements alike, so the wrong ones pull it away.
# Attention has a second factor: a key that disagrees with its *query* loses weight. As
# the query we take what the filter predicts, not the measurement itself, which would
# vouch for itself; ``query_variance`` says how uncertain the prediction is. With robust
# estimates the predictions become better, so this is repeated.

lags = np.diff(times)
kept = np.exp(-2 * decay * lags)
estimate = linear
for _ in range(3):
    carried = np.exp((-decay + 1j * frequency) * lags)[:, None] * estimate.mean[:-1]
    query = np.concatenate([z[:1], carried])
    grown = kept * variance[:-1] + noise.process * (1 - kept) / (2 * decay)
    own = np.concatenate([[noise.measurement], grown])
    robust = options | {"weighting": afa.Rational(4.0), "query_variance": own}
    estimate = afa.estimate(query, z, z, sde, **robust)


def root_mean_square(x):
    return np.sqrt(np.mean(np.abs(x) ** 2))


errors = [
    root_mean_square(each - state) for each in (measured, exact, estimate.mean[:, 0])
]
print("measurements {:.2f}, Kalman filter {:.2f}, attention {:.2f} mm".format(*errors))
assert errors[2] < 0.75 * errors[1]

# %%
# Without wrong measurements no filter can be better than the Kalman filter. We know
# which are wrong here, so we can leave them out and see how near attention comes to
# that bound:

possible, _ = kalman_filter(measured[~wrong], times[~wrong])
bound = root_mean_square(possible - state[~wrong])
reached = root_mean_square(estimate.mean[~wrong, 0] - state[~wrong])
print(f"at right measurements: {reached:.2f} mm, best possible {bound:.2f} mm")
assert reached < 1.15 * bound

# %%
# An interval from the precision
# ------------------------------
#
# A part of :math:`x` has half of the variance, so its 95 % interval reaches
# :math:`1.96\sqrt{1/2p}` to either side.

half_width = 1.96 * np.sqrt(0.5 / estimate.precision)
mean = estimate.mean[:, 0].real
covered = np.mean(np.abs(mean - state.real) < half_width)
print(f"{100 * covered:.0f} % of the states lie in their interval")
assert 0.92 < covered < 1.0

figure, axis = plt.subplots()
lower, upper = mean - half_width, mean + half_width
axis.fill_between(times, lower, upper, alpha=0.25, lw=0, label="95 %")
axis.plot(times, mean, label="attention")
axis.plot(times, exact.real, "C1--", lw=1.4, label="Kalman filter")
axis.plot(times, state.real, color="black", lw=1.0, label="true state")
good, bad = measured[~wrong].real, measured[wrong].real
axis.plot(times[~wrong], good, ".", color="0.5", ms=4, label="measured")
axis.plot(times[wrong], bad, "x", color="C3", ms=7, mew=1.8, label="wrong")
axis.set(xlabel="time, s", ylabel="deflection, mm")
axis.set(xlim=(times[-1] - 30, times[-1]), ylim=(-9, 9))
figure.legend(loc="outside upper left", ncols=6)
plt.show()

# %%
# Look at the weights
# -------------------
#
# :func:`afa_core.attention_weights` returns them for inspection. Here is the row of the
# query that follows a wrong measurement: uniform weights decrease with every key in
# between, and robust weights are almost zero where the measurement was wrong.

row = np.flatnonzero(wrong)[-1] + 1
uniform = options | {"weighting": afa.Uniform()}
uniform_row = afa.attention_weights(z, z, z, sde, **uniform)[row]
robust_row = afa.attention_weights(query, z, z, sde, **robust)[row]
pair = uniform_row[row - 1], robust_row[row - 1]
print("weight of the wrong key: {:.3f}, robust {:.3f}".format(*pair))
assert pair[1] < 0.2 * pair[0]
assert np.isclose(robust_row.sum(), 1.0)

figure, axis = plt.subplots(figsize=(8.0, 3.0))
near = slice(row - 25, row + 1)
axis.plot(
    times[near], uniform_row[near], "C1s", ms=6, mfc="none", mew=1.6, label="uniform"
)
axis.plot(times[near], robust_row[near], "C0o", ms=5, label="robust")
for time in times[near][wrong[near]]:
    axis.axvline(time, color="C3", ls=":", zorder=0)
axis.plot([], [], color="C3", ls=":", label="wrong measurement")
axis.set(xlabel="time of the key, s", ylabel="weight")
axis.legend()
plt.show()

# %%
# Next: :doc:`plot_correlated_keys` shows what ``correlated=True`` is for. If the
# parameters are not known, :class:`afa_core.timeseries.Filter` fits them:
# :doc:`/guides/series`.
