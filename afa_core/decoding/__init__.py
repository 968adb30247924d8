"""Attention over one set of keys at a time: partial states that merge, and a cache (spec §9)."""
