"""Attention in kernels of Pallas, for JAX on NVIDIA GPUs."""
