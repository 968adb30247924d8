"""
Carbon dioxide: a series with gaps, after trend and season
==========================================================

The weekly concentrations of CO₂ at Mauna Loa from 1958 to 2001 (statsmodels) have a
trend, a season and 59 missing weeks. Trend and season are not what ``Filter`` models:
its state reverts to a level. If you want them in the model, use a structural model such
as ``statsmodels.tsa.statespace.structural.UnobservedComponents``. Here they are fitted
by least squares, as a cubic and four harmonics, and the filter takes what is left.

.. code-block:: sh

    python -m pip install -c constraints.txt '.[cli]' statsmodels
"""

import matplotlib.pyplot as plt
import numpy as np
import statsmodels.api as sm

from afa_core.timeseries import Filter

weekly = sm.datasets.co2.load_pandas().data["co2"]
years = (weekly.index - weekly.index[0]).days.to_numpy() / 365.25
angles = 2 * np.pi * years[:, None] * np.arange(1, 5)
terms = np.hstack(
    [(years[:, None] / 20 - 1) ** np.arange(4), np.cos(angles), np.sin(angles)]
)
seen = weekly.notna().to_numpy()
rest = (weekly - terms @ np.linalg.lstsq(terms[seen], weekly[seen])[0]).rename(
    "anomaly, ppm"
)

model = Filter().fit(rest)
found = model.smooth()
(axis,) = found.plot()
model.forecast(52).plot(axis)
axis.set(xlabel="year")
plt.show()

# %%
# Anomalies have a half-life of four months, so that the forecast returns to the level
# within a year. In gaps the estimate goes on from both sides, with a standard deviation
# that says how little is known.

half_life = np.log(2) / model.decay_
print(f"{half_life:.0f} days, noise of a week {np.sqrt(model.measurement_):.2f} ppm")
assert 90 < half_life < 150
gap = rest.isna()
print(f"sd {found.sd[~gap].median():.2f}, in gaps up to {found.sd[gap].max():.2f} ppm")
assert found.sd[gap].max() > 2 * found.sd[~gap].median()
flagged = rest.index[found.outlier]
print(", ".join(flagged.strftime("%Y-%m-%d")))
assert len(flagged) == 8
assert np.isin(flagged.month, (7, 8, 9)).sum() == 5

# %%
# Five of the eight flagged weeks are in summer or early autumn, where four harmonics
# describe the minimum of the season least well.
