"""Attention over tiles: under transforms, its memory, its single precision."""
