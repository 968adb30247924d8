"""Filters, smoothers and forecasts of real series, robust and fitted."""

try:
    from afa_core.timeseries.filter import Filter
    from afa_core.timeseries.results import Estimates, Forecast
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] not in ("numpy", "scipy"):
        raise
    msg = (
        f"`afa_core.timeseries` needs {error.name}. Install it: pip install 'afa-core[timeseries]'."
    )
    raise ImportError(msg) from error

__all__ = ["Estimates", "Filter", "Forecast"]
