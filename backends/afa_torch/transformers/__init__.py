"""Adaptive Filter Attention in models of Hugging Face's Transformers."""

from afa_torch.parameters import parameter_groups
from afa_torch.transformers.conversion import convert
from afa_torch.transformers.dynamics import Dynamics
from afa_torch.transformers.files import from_pretrained
from afa_torch.transformers.interface import register

__all__ = ["Dynamics", "convert", "from_pretrained", "parameter_groups", "register"]
