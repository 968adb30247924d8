"""Ring attention on PyTorch ranks, for sequences longer than one of them holds (spec §9)."""

from afa_torch.ring.attention import ring_attention, ring_estimate
from afa_torch.ring.sharding import shard, sum_gradients, unshard

__all__ = ["ring_attention", "ring_estimate", "shard", "sum_gradients", "unshard"]
