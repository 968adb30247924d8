"""
A drifting sensor with outliers
===============================

A thermometer is read at irregular times, drifts slowly, and one reading in thirty is
wrong by many degrees. At hour 60 it is moved, and reads four degrees more from then on.
Which of the readings are wrong, and what is the temperature?

.. code-block:: sh

    python -m pip install -c constraints.txt '.[timeseries]' matplotlib
"""

import matplotlib.pyplot as plt
import numpy as np

from afa_core.timeseries import Filter

rng = np.random.default_rng(3)
hours = np.sort(rng.uniform(0.0, 100.0, 1000))
drift = np.cumsum(
    np.sqrt(0.05 * np.diff(hours, prepend=0.0)) * rng.standard_normal(1000)
)
truth = 20.0 + drift + 4.0 * (hours > 60.0)
wrong = rng.random(1000) < 0.03
read = truth + 0.3 * rng.standard_normal(1000) + wrong * 8.0 * rng.standard_normal(1000)

robust = Filter(decay=0).fit(hours, read)
exact = Filter(decay=0, robust=False).fit(hours, read)
found, other = robust.filter(), exact.filter()
errors = np.std(found.mean - truth), np.std(other.mean - truth)
print("error {:.2f}, exact filter {:.2f}".format(*errors))
assert errors[0] < 0.7 * errors[1]

(axis,) = found.plot()
axis.plot(hours, other.mean, "C1", lw=0.8, zorder=0, label="exact filter")
axis.set(ylim=(15, 33), xlabel="time, hours", ylabel="temperature, °C")
axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=5)
plt.show()

# %%
# The fitted noise of the robust filter is that of good readings, 0.3 °C; the exact
# filter takes the wrong ones for noise, and follows them.

noise = np.sqrt([robust.measurement_, exact.measurement_])
print(f"noise fitted {noise[0]:.2f}, without weights {noise[1]:.2f}")
flagged = found.outlier
print(f"{flagged.sum()} flagged, {(flagged & wrong).sum()} of {wrong.sum()} wrong ones")
assert abs(noise[0] - 0.3) < 0.05
assert (flagged & wrong).sum() == 30
assert np.all(hours[flagged & ~wrong] > 60.0)

# %%
# Two wrong readings are so little wrong that they look like noise. The other flagged
# ones are the first after the thermometer was moved: they are not what was predicted,
# but the estimate follows them. :doc:`/guides/series` is the guide.
