"""The filter of real series, in the manner of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

from afa_core.timeseries.ahead import times_ahead
from afa_core.timeseries.data import Data, read_data
from afa_core.timeseries.estimator import Estimator
from afa_core.timeseries.fit import fit
from afa_core.timeseries.options import (
    check_options,
    dof_of,
    given_parameters,
    parameters_to_fit,
)
from afa_core.timeseries.passes import Robust, filtered, smoothed
from afa_core.timeseries.progress import Progress, without_progress
from afa_core.timeseries.results import Estimates, Forecast
from afa_core.timeseries.scaling import Parameters, estimates_of, forecast_of, scaled_series
from afa_core.timeseries.summary import summary_of
from afa_core.timeseries.values import as_numpy, copied
from afa_core.timeseries.weights import Weights, latest_weights


class Filter(Estimator):
    r"""Filter, smoother and forecast of noisy series with gaps, irregular times and outliers.

    Each series is a state that reverts to a level, measured with noise,

        dx = −μ(x − level) dt + σ dw,    z_i = x(t_i) + v_i,  Var v = η²,

    or, if `frequency` is not 0, a pair of columns whose complex state x + iy rotates as well, with
    −μ + iω in the place of −μ; σ² and η² are variances of one component. Parameters that are None
    are fitted; what is changed after a fit takes effect at the next.

    Robust estimates are those of attention with correlated keys and rational weights: the query of
    a measurement is what the others predict of it, and a measurement counts the less the further it
    is from what it is compared with. Otherwise they are those of the exact Kalman filter and
    smoother.

    Parameters
    ----------
    decay : float, array of shape (s,), or None
        μ ≥ 0, 1/time; 0 is a random walk, the local level model.
    process : float, array of shape (s,), or None
        σ² ≥ 0, value²/time.
    measurement : float, array of shape (s,), or None
        η² > 0, value².
    level : float, array of shape (s,), or None
        The value to which the state reverts, complex of a pair; it is without effect if the decay
        is 0.
    frequency : float, array of shape (s,), or None
        ω, radians/time. None and numbers other than 0 take the columns in pairs, as one state each.
    dof : float
        ν > 0, degrees of freedom of the weights and, for each component, of the likelihood of a
        robust fit.
    robust : bool
        Whether measurements are weighted, and the fit is robust.
    threshold : float
        Standardised prediction residual beyond which a measurement is an outlier, > 0; of a pair,
        the one that normal measurements exceed as rarely. 3.5 flags 1 in 2,000 of them.
    window : int
        Number of measurements on a side that robust estimates need not look beyond, where the
        memory of the filter, about 28/K measurements for a gain K, is longer: time is
        O(n · min(memory, window)).
    unit : {"W", "D", "h", "m", "s", "ms", "us", "ns"}
        Unit of time of the parameters where times are dates.

    Attributes
    ----------
    decay_, process_, measurement_, level_, frequency_ : float, or array of shape (s,)
        The parameters, given or fitted; the level is NaN where the decay is 0.
    standard_errors_ : dict
        Standard errors of the fitted ones, from the Hessian of the log-likelihood; NaN of those
        at a bound.
    log_likelihood_ : float, or array of shape (s,)
        Of the measurements but the first: normal if not robust, otherwise Student-t with `dof`
        degrees of freedom about the predictions of a filter that weights its measurements, of a
        scale at which η² is the variance of normal measurements.
    aic_ : float, or array of shape (s,)
        Akaike's criterion of that likelihood, to be compared between fits of one kind.

    References
    ----------
    Spec §11, §14.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> times = np.cumsum(rng.exponential(size=300))
    >>> values = np.sin(times / 20.0) + 0.3 * rng.standard_normal(300)
    >>> values[100] += 9.0
    >>> model = Filter().fit(times, values)
    >>> found = model.filter(times, values)
    >>> np.flatnonzero(found.outlier)
    array([100])
    >>> model.forecast(3).mean.shape
    (3,)
    """

    def __init__(
        self,
        decay: Any = None,
        process: Any = None,
        measurement: Any = None,
        level: Any = None,
        frequency: Any = 0.0,
        *,
        dof: float = 4.0,
        robust: bool = True,
        threshold: float = 3.5,
        window: int = 8192,
        unit: str = "D",
    ) -> None:
        self.decay = decay
        self.process = process
        self.measurement = measurement
        self.level = level
        self.frequency = frequency
        self.dof = dof
        self.robust = robust
        self.threshold = threshold
        self.window = window
        self.unit = unit

    def fit(
        self,
        times: Any,
        values: Any = None,
        *,
        sort: bool = False,
        progress: Progress = without_progress,
    ) -> Self:
        """Fit the parameters that are None by maximum likelihood, to every series its own.

        Times and values are copied.

        Parameters
        ----------
        times : array, shape (n,), or pandas
            Numbers, NumPy dates, an index of pandas; not decreasing, ties allowed. Or a series or
            table of pandas, whose index is the times, without `values`.
        values : array, shape (n,) or (n, c), or pandas
            A column for each series, two for each pair, or complex; NaN where nothing is measured.
        sort : bool
            Whether rows may come in any order; results are in the order given.
        progress : callable
            ``progress(steps, title)`` returns the steps of a long iteration, and may show them.

        Returns
        -------
        Filter
            Itself.

        Raises
        ------
        TypeError
            If times or values are not numbers, or dates.
        ValueError
            If shapes do not fit each other, times decrease, or the measurements do not determine
            what is to be fitted.
        """
        options = self.get_params()
        check_options(options)
        data = read_data(copied(times), copied(values), options, sort=sort)
        found = fit(
            as_numpy(data.values),
            as_numpy(data.elapsed),
            as_numpy(data.observed),
            parameters_to_fit(options, len(data.layout.series)),
            names=data.layout.series,
            dof=dof_of(options),
            progress=progress,
        )
        self._data, self._found, self._fitted_options = data, found, options

        def plain(x: Any) -> Any:
            return x[0].item() if data.layout.flat or len(x) == 1 else x

        for name in ("decay", "process", "measurement", "level", "frequency", "log_likelihood"):
            setattr(self, f"{name}_", plain(getattr(found, name)))
        self.aic_ = plain(2.0 * found.fitted - 2.0 * found.log_likelihood)
        self.standard_errors_ = {name: plain(x) for name, x in found.standard_errors.items()}
        return self

    def filter(
        self,
        times: Any = None,
        values: Any = None,
        *,
        sort: bool = False,
        progress: Progress = without_progress,
    ) -> Estimates:
        """Estimate the state at each time from the measurements up to it.

        Takes the arguments of `fit`, by default those that were fitted, and raises its errors; no
        fit is needed where all parameters are given. Arrays may then be of any library.
        """
        return self._estimates(self._data_of(times, values, sort=sort), progress, both=False)

    def smooth(
        self,
        times: Any = None,
        values: Any = None,
        *,
        sort: bool = False,
        progress: Progress = without_progress,
    ) -> Estimates:
        """Estimate the state at each time from all measurements.

        Takes the arguments of `filter` and raises its errors. The state of a series that reverts
        has its stationary distribution before the first measurement; without process noise it is
        a curve, of which nothing else is known.
        """
        return self._estimates(self._data_of(times, values, sort=sort), progress, both=True)

    def forecast(self, ahead: Any) -> Forecast:
        """Forecast the fitted series.

        Parameters
        ----------
        ahead : int, or array, shape (k,)
            Number of steps after the last time: of the frequency of its index if it has one, of the
            median difference of times otherwise. Or later times.

        Raises
        ------
        TypeError, ValueError
            If it is neither, or a time is not after the last one; ValueError if nothing was fitted.
        """
        data = self._fitted_data()
        times, elapsed = times_ahead(ahead, data)
        scaled = scaled_series(data, self._parameters())
        belief = filtered(scaled.series, Robust.of(self._options), xp=data.xp)
        return forecast_of(data, scaled, belief, times, elapsed)

    def weights(self, last: int = 400, *, series: int = 0) -> Weights:
        """Return the attention weights of the `last` measurements of one of the fitted series.

        Raises
        ------
        ValueError
            If nothing was fitted, or there is no such series.
        """
        data = self._fitted_data()
        scaled = scaled_series(data, self._parameters())
        return latest_weights(data, scaled.series, Robust.of(self._options), series, last)

    def summary(self) -> str:
        """Return the fitted parameters with their standard errors, in text, a block for a series.

        Raises
        ------
        ValueError
            If nothing was fitted.
        """
        return summary_of(self._fitted_data(), self._found, dof=dof_of(self._options))

    @property
    def _options(self) -> dict[str, Any]:
        """The options of the last fit; those of the constructor before it."""
        return self._fitted_options if hasattr(self, "_fitted_options") else self.get_params()

    def _parameters(self) -> Parameters:
        """Return the parameters, fitted or given."""
        if hasattr(self, "_found"):
            return Parameters(*(getattr(self._found, name) for name in Parameters._fields))
        return given_parameters(self.get_params())

    def _data_of(self, times: Any, values: Any, *, sort: bool) -> Data:
        """Return the data given, or those fitted."""
        check_options(self._options)
        if times is None and values is None:
            return self._fitted_data()
        return read_data(times, values, self._options, sort=sort)

    def _fitted_data(self) -> Data:
        """Return the data of the fit."""
        if not hasattr(self, "_data"):
            msg = "`fit` must be called first, got a filter without data. Call fit(times, values)."
            raise ValueError(msg)
        return self._data

    def _estimates(self, data: Data, progress: Progress, *, both: bool) -> Estimates:
        """Return estimates from the measurements before each time, or on both sides of it."""
        scaled, options = scaled_series(data, self._parameters()), self._options
        estimates = smoothed if both else filtered
        belief = estimates(scaled.series, Robust.of(options, progress), xp=data.xp)
        dof, threshold = dof_of(options), options["threshold"]
        return estimates_of(data, scaled, belief, dof=dof, threshold=threshold)
