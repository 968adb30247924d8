"""Adaptive Filter Attention in the place of modules of `torch.nn`."""

from afa_torch.multihead import MultiheadAttention
from afa_torch.parameters import parameter_groups
from afa_torch.replacement import replace_attention

__all__ = ["MultiheadAttention", "parameter_groups", "replace_attention"]
