"""Benchmarks of Adaptive Filter Attention: time, memory and accuracy in comparison with baselines.

``python -m afa_bench`` measures one problem size, ``python -m afa_bench.suite`` the sizes of the
documentation, and ``python -m afa_bench.page`` writes the page and its figures.
"""
