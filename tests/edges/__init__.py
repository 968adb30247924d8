"""Inputs at the edge of what attention computes."""
