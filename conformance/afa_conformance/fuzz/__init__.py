"""Random calls of the public functions, compared with the equations.

`python -m afa_conformance.fuzz` runs them. Each follows from a seed and its number.
"""
