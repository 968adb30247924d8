r"""
Decode token by token
=====================

A decoder attends from each new token to a cache of those before it. This page shows
that this is attention over the whole sequence, to rounding, and keeps the memory of a
decoder bounded by removing tokens that hardly matter any more.

.. code-block:: sh

    python -m pip install -c constraints.txt '.[numpy]' matplotlib

Tokens of two heads
-------------------

The heads have memories of about 20 and 60 tokens. Queries and keys have length 1, as
normalised ones do, which a bound will need.
"""

import matplotlib.pyplot as plt
import numpy as np

import afa_core as afa

gains = np.asarray([1 / 20, 1 / 60])
noise = afa.Noise(process=gains**2 / (1 - gains), measurement=1.0, query=1.0)
sde = afa.IsotropicSDE(0.0, np.asarray([1.0, 0.1]), noise)
options = {"weighting": afa.Rational(4.0), "correlated": True}

rng = np.random.default_rng(0)
count = 2000
query, key, value = rng.standard_normal((3, 2, count, 4))  # (heads, tokens, channels)
query, key, value = (
    x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key, value)
)

# %%
# A prompt, then one token at a time
# ----------------------------------
#
# The prompt fills the cache. Every step appends one token and returns its output; a
# cache is a value, so the one before the step can still be used.


def decode(evicting):
    """Return the outputs of all tokens after the prompt, and the sizes of the cache."""
    prompt = slice(0, 100)
    cache = afa.DecodeCache.of(key[:, prompt], value[:, prompt], sde, correlated=True)
    outputs, sizes = [], []
    for place in range(100, count):
        token = (x[:, place : place + 1] for x in (query, key, value))
        output, cache = afa.decode_step(*token, sde, cache, **options)
        cache = evicting(cache)
        outputs.append(output)
        sizes.append(cache.used)
    return np.concatenate(outputs, axis=1), np.asarray(sizes)


outputs, sizes = decode(lambda cache: cache)
expected = afa.attention(query, key, value, sde, **options)[:, 100:]
difference = np.max(np.abs(outputs - expected))
print(f"greatest difference from attention over all tokens: {difference:.0e}")
assert difference < 1e-12
assert sizes[-1] == count

# %%
# Bounded memory
# --------------
#
# The cache has grown to all tokens. But the influence of all tokens up to :math:`b`
# together, :math:`r=\prod_{l>b}(1-K_l)`, falls with every new token. ``evict`` removes
# tokens once :math:`r` is so small that they cannot change any later estimate by more
# than :math:`\frac{2\tau}{1-\tau}\max\lVert v\rVert`. For that it needs the greatest
# length of queries and keys, ``norm``: near keys that disagree with a later query keep
# some weight then.

tolerance = 1e-3


def evict(cache):
    return afa.evict(cache, sde, tolerance, norm=1.0, weighting=options["weighting"])


bounded, bounded_sizes = decode(evict)
changed = np.max(np.linalg.norm(bounded - outputs, axis=-1), axis=0)
bound = 2 * tolerance / (1 - tolerance) * np.max(np.linalg.norm(value, axis=-1))
print(f"at most {bounded_sizes.max()} tokens of {count} in the cache")
print(f"greatest change {changed.max():.0e}, at most {bound:.0e}")
assert 0 < changed.max() <= bound
assert bounded_sizes.max() < count / 2

figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.4))
steps = np.arange(100, count)
axes[0].plot(steps, sizes, "C1--", label="all tokens")
axes[0].plot(steps, bounded_sizes, "C0", label="evicted")
axes[0].set(xlabel="token", ylabel="tokens in the cache")
axes[0].legend()
seen = changed > 0
axes[1].semilogy(steps[seen], changed[seen], ".", ms=2, label="change")
axes[1].axhline(bound, color="black", ls="--", label="bound")
axes[1].set(xlabel="token", ylabel="change of the output", ylim=(1e-8, 3e-1))
axes[1].legend()
plt.show()

# %%
# The size rises and falls: tokens are removed only when at least half of them can go.
# The gain of the filter still reflects the removed tokens.
#
# How far a head can look back follows from its slowest gain, here :math:`1/60`: the
# influence is below the threshold after some :math:`60\log(1/\tau w_{\min})` tokens,
# and at most twice that is kept. Let us check that, with :math:`w_{\min}` for the
# longest residual, of squared length 4, and two modes:

distance = 4.0 / (noise.query + noise.measurement)
floor = 1 / (1 + distance / (4.0 * 2))  # of Rational(4.0)
needed = np.log(tolerance * floor) / np.log(1 - gains[1])
print(f"needed: {needed:.0f} tokens, kept: at most {bounded_sizes.max()}")
assert bounded_sizes.max() <= 2 * np.ceil(needed) + 2

# %%
# Layers have the same steps: :doc:`/guides/pytorch` (also beam search),
# :doc:`/guides/jax` with a fixed capacity, and :doc:`/guides/numpy`. The mathematics is
# in the :doc:`specification </specification>`, §14.
