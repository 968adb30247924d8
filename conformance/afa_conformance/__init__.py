"""Laws that any implementation of Adaptive Filter Attention must obey, on any array library.

``python -m afa_conformance --afa-backend NAME`` runs them.
"""
