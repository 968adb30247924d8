"""Attention over tiles of keys: the same results as the reference in O(n + m) memory."""
