"""Profiling and baselines of each array library, one module per library."""
