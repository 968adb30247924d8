"""Layers in all frameworks, and files of them."""
