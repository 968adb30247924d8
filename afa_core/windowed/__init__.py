"""Attention with a window: far keys by their first order, with a bound of the error."""
