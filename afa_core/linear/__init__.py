"""Uniform weights on a regular grid, where attention is a convolution."""
