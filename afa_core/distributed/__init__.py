"""Ring attention, for sequences longer than one device holds (spec §9)."""

from afa_core.distributed.communication import Traffic, traffic

__all__ = ["Traffic", "traffic"]
