"""Attention to correlated keys, which is the exact filter (spec §14)."""
