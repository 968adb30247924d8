"""Attention on a GPU by kernels of Triton, forward and backward (spec §9)."""
