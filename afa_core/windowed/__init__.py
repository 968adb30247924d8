"""Attention with a window: far keys to first order in their decay, with a bound of the error."""
