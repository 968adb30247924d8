"""Filters, smoothers and forecasts of real series, robust and fitted."""

from afa_core.timeseries.filter import Filter
from afa_core.timeseries.results import Estimates, Forecast

__all__ = ["Estimates", "Filter", "Forecast"]
