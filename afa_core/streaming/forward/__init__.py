"""Attention block by block: what the pairs of a tile add to their queries."""
