"""
The Chandler wobble: a pair that rotates
========================================

The axis of the Earth's rotation moves about the crust by some metres. The motion has an
annual part, forced by the seasons, and a free one, the Chandler wobble, with a period
of about 14 months, damped, and excited by the atmosphere and the oceans: a rotating
state with noise. Its period is published as 433.0 ± 1.1 days (J. Vicente and C. R.
Wilson, 1997) and is commonly given as 433 ± 2 days.

.. code-block:: sh

    python -m pip install -c constraints.txt '.[cli]' astropy-iers-data

The coordinates of the pole since 1962 are those of the International Earth Rotation and
Reference Systems Service, from the package ``astropy-iers-data``. Means over 30 days
are taken, and the annual motion, the mean pole and its drift are fitted by least
squares. What remains is a pair of columns; ``frequency=None`` takes them as one
rotating state and fits its frequency.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from astropy_iers_data import IERS_B_FILE

from afa_core.timeseries import Filter

days, x, y = np.loadtxt(IERS_B_FILE, usecols=(4, 5, 6))[:23640].T  # to September 2026
days, x, y = (each.reshape(-1, 30).mean(axis=1) for each in (days, x, y))
pole = 1000 * (x - 1j * y)  # milliarcseconds; prograde motion has a positive frequency

year = np.exp(2j * np.pi * days / 365.2422)
decades = (days - days.mean()) / 3652.5
terms = np.stack(
    [decades**0, decades, decades**2, decades**3, year, year.conj()], axis=-1
)
free = pole - terms @ np.linalg.lstsq(terms, pole)[0]
dates = pd.to_datetime(days - 40587.0, unit="D").round("D")  # from modified Julian days
wobble = pd.DataFrame({"x, mas": free.real, "−y, mas": free.imag}, index=dates)

model = Filter(frequency=None).fit(wobble)
axes = model.smooth().plot()
model.forecast(36).plot(axes)
axes[-1].set(xlabel="year")
plt.show()

# %%
# The period differs from the published one by 3 days, about one standard error of the
# two together.

period = 2 * np.pi / model.frequency_
error = period * model.standard_errors_["frequency"] / model.frequency_
print(f"period {period:.1f} ± {error:.1f} days")
assert abs(period - 433.0) < 2 * np.hypot(error, 1.1)
print(f"damped within {1 / model.decay_ / 365.25:.0f} years")
assert 20 < 1 / model.decay_ / 365.25 < 100

# %%
# The damping is poorly determined, here as in the literature, where it ranges from 20
# to over 100 years: its standard error is three quarters of it. The flagged
# measurements are those of the sixties, before the pole was observed from space. From
# 2015 to 2020 the wobble all but vanished.
