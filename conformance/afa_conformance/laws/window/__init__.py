"""Attention with a window, spec §9."""
