"""Attention on a GPU by kernels of Triton, forward and backward (spec §4, §6, §9, §14)."""
