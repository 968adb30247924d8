"""Random calls of the public functions, compared with the equations: ``python -m …fuzz``."""
