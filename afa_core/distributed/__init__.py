"""Sequences longer than one device holds: ring attention and its shards (spec §9)."""

from afa_core.distributed.ring import Traffic, traffic

__all__ = ["Traffic", "traffic"]
