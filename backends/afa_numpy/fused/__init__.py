"""Attention in compiled loops, for NumPy arrays and for PyTorch tensors on a CPU (extra ``fast``).

`engine` imports neither Numba nor SciPy before attention runs.
"""
