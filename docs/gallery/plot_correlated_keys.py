r"""
Correlated keys
===============

A thousand old keys are not a thousand pieces of evidence: whatever happened to the
state since then, happened to all of them. This page shows what attention loses by
counting them as independent, derives the slope of ALiBi from the gain of a filter, and
leaves out far keys within a bound.

.. code-block:: sh

    python -m pip install -c constraints.txt '.[numpy]' matplotlib

What far keys have in common
----------------------------

A state drifts as a random walk, :math:`dx=\sigma\,dw`, and is measured with variance
:math:`\eta^2`. Of :math:`N` measurements 100 s ago the mean has the variance
:math:`\eta^2/N`. But it is a measurement of the state *then*, and since then the state
has gained the variance :math:`100\,\sigma^2`, however large :math:`N` is. One more
measurement, 1 s ago, knows better. So the exact variance of the state now is

.. math:: \frac1{\frac1{\eta^2/N+99\,\sigma^2}+\frac1{\eta^2}}+\sigma^2 .
"""

import matplotlib.pyplot as plt
import numpy as np

import afa_core as afa

noise = afa.Noise(process=0.1, measurement=1.0, query=0.0)
walk = afa.IsotropicSDE(0.0, 0.0, noise)
now = np.asarray([100.0])


def summary(count, correlated):
    """Return the variance of the state now, and the far keys' share of the weight."""
    tokens = np.ones((count + 1, 1), dtype=complex)  # what they are does not matter
    key_times = np.concatenate([np.zeros(count), [99.0]])
    times = {"query_times": now, "key_times": key_times}
    options = {"weighting": afa.Uniform(), "correlated": correlated} | times
    arguments = tokens[:1], tokens, tokens, walk
    found = afa.estimate(*arguments, **options)
    weights = afa.attention_weights(*arguments, **options)
    return 1 / found.precision[0], weights[0, :-1].sum()


counts = np.unique(np.geomspace(1, 3000, 30).astype(int))
exact = 1 / (1 / (1 / counts + 99 * 0.1) + 1 / 1.0) + 0.1
independent, correlated = (
    np.asarray([summary(count, each) for count in counts]).T for each in (False, True)
)
assert np.allclose(correlated[0], exact, rtol=1e-12)
print(f"variance with {counts[-1]} far keys: exact {exact[-1]:.2f}", end=", ")
print(f"correlated {correlated[0, -1]:.2f}, independent {independent[0, -1]:.4f}")
print(f"weight of the far keys: {correlated[1, -1]:.2f} and {independent[1, -1]:.3f}")
assert independent[0, -1] < 0.01 * exact[-1]

figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.4))
for axis, place in zip(axes, (0, 1), strict=True):
    axis.semilogx(counts, independent[place], "C1s-", ms=4, label="independent")
    axis.semilogx(counts, correlated[place], "C0o", ms=5, label="correlated")
    axis.set(xlabel="number of far keys")
axes[0].semilogx(counts, exact, "k-", lw=1.2, zorder=0, label="exact")
axes[0].set(ylabel="variance of the estimate", yscale="log")
axes[1].set(ylabel="their share of the weight", ylim=(-0.03, 1.03))
axes[0].legend()
plt.show()

# %%
# Independent keys have a variance hundreds of times too small, and with some ten far
# keys the near one has lost the majority. Correlated keys have the exact variance, and
# leave most of the weight to the near key. Far keys dilute dot-product attention in the
# same way: :doc:`/experiments/dilution`.
#
# The slope of ALiBi
# ------------------
#
# At regular times the filter soon has a constant gain :math:`K`, and a key keeps
# :math:`1-K` of its weight whenever a new one comes. The logarithm of the weight falls
# linearly with the distance: this is ALiBi, whose heads have the slopes :math:`m=1/2,
# 1/4, \dots, 1/256`, here with a reason. A slope is a ratio of noises, since
#
# .. math:: m=-\log(1-K),\qquad\frac{\sigma^2}{\eta^2}=\frac{K^2}{1-K}
#
# for a random walk with steps of 1. Eight heads with these noises:

slopes = 2.0 ** -np.arange(1, 9)
gains = 1 - np.exp(-slopes)
heads = afa.IsotropicSDE(0.0, 0.0, afa.Noise(gains**2 / (1 - gains), 1.0, 1.0))

tokens = np.ones((8, 3000, 1), dtype=complex)  # (heads, tokens, modes)
last = tokens[:, -1:]
weights = afa.attention_weights(
    last, tokens, tokens, heads, weighting=afa.Uniform(), correlated=True
)[:, 0]
distance = np.arange(3000)[::-1]
alibi = np.exp(-slopes[:, None] * distance)
alibi /= alibi.sum(axis=-1, keepdims=True)  # softmax of -m · distance
near = distance < 1000
difference = np.max(np.abs(weights[:, near] / alibi[:, near] - 1))
print(f"relative difference from ALiBi within 1000 tokens: {difference:.0e}")
assert difference < 1e-4

figure, axis = plt.subplots(figsize=(8.0, 3.4))
shown = distance <= 60
for head, color in ((1, "C0"), (3, "C1"), (5, "C2")):
    name = f"m = 1/{round(1 / slopes[head])}, σ²/η² = {heads.noise.process[head]:.2g}"
    axis.semilogy(distance[shown], weights[head, shown], ".", color=color, label=name)
    axis.semilogy(distance[shown], alibi[head, shown], color=color, lw=1.0)
axis.plot([], [], "k-", lw=1.0, label="ALiBi")
axis.set(xlabel="distance from the query, tokens", ylabel="weight", ylim=(1e-7, 1.0))
axis.legend()
plt.show()

# %%
# What is left of the difference is the start of the sequence, which ALiBi does not
# have. At irregular times the slope is replaced by :math:`-\log(1-K)` of every key in
# between.
#
# Leave out what cannot matter
# ----------------------------
#
# All keys up to :math:`b` have together the influence :math:`\prod_{l>b}(1-K_l)`, known
# without reading them. Attention goes from near keys to far ones, head by head, and
# stops when the rest cannot have more than a share :math:`\tau` of the weight: the
# estimate then changes by at most :math:`\frac{2\tau}{1+\tau}\max\lVert v\rVert`,
# whatever the tokens are. Independent keys have no such bound.

rng = np.random.default_rng(0)
tokens = rng.standard_normal((8, 3000, 8))  # four modes
options = {"weighting": afa.Rational(4.0), "correlated": True}
tolerance = 1e-3
left = afa.visited_blocks(tokens, tokens, tokens, heads, tolerance=tolerance, **options)
early = afa.attention(tokens, tokens, tokens, heads, tolerance=tolerance, **options)
every = afa.attention(tokens, tokens, tokens, heads, tolerance=0, **options)

changed = np.max(np.linalg.norm(early - every, axis=-1))
bound = 2 * tolerance / (1 + tolerance) * np.max(np.linalg.norm(tokens, axis=-1))
share = left.visited / left.total
print("visited, head by head:", np.round(share, 2))
print(f"greatest change {changed:.0e}, at most {bound:.0e}")
assert 0 < changed <= bound
assert np.all(np.diff(share) >= 0)
assert share[0] < 0.5

# %%
# Heads with a short memory visit the tiles near the diagonal alone, so their cost grows
# with the length of the sequence and not with its square. By default :math:`\tau` is
# the rounding of the dtype. :doc:`/guides/correlated` has masks, windows, layers and a
# table of errors.
