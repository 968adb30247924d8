"""Oracles: the specification evaluated independently, sharing no code with the library."""
