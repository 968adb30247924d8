"""Implementations that attention is compared with."""
