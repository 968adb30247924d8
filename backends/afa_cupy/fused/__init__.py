"""Attention on a GPU by a kernel in CUDA C++, compiled when it is first used (spec §4, §9, §14)."""
