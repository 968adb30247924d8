"""Gradients block by block, from tiles that are evaluated again."""
