"""Ring attention on JAX devices, for sequences longer than one of them holds (spec §9)."""

from afa_jax.ring.attention import ring_attention, ring_estimate
from afa_jax.ring.sharded import sharded_attention

__all__ = ["ring_attention", "ring_estimate", "sharded_attention"]
