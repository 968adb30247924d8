"""How many bytes ring attention sends (spec §9)."""

from __future__ import annotations

from math import prod
from typing import NamedTuple


class Traffic(NamedTuple):
    """Bytes that each device sends, in the forward and in the backward pass."""

    forward: int
    backward: int


def traffic(
    devices: int,
    key: tuple[int, ...],
    value: tuple[int, ...],
    itemsize: int,
    *,
    times: tuple[int, ...] = (0,),
    time_size: int = 8,
    key_mask: tuple[int, ...] = (0,),
) -> Traffic:
    """Return the bytes that each device of a ring sends, from the shapes of its own shard.

    In the forward pass every shard of keys and values is sent P − 1 times. In the backward pass it
    is sent P − 1 times again, and its gradient P times: the last time back to its own device.
    Without times this is what ring attention with dot products sends.

    Parameters
    ----------
    devices : int
        The number P of devices.
    key, value : tuple of int
        Shapes (..., m, 2d) and (..., m, 2d_v) of the keys and values of one device. Times and
        frequencies may have leading axes that keys and values lack; keys and values that are sent
        have them.
    itemsize, time_size : int
        Bytes of a number in `key` and `value`, and of a time.
    times, key_mask : tuple of int
        Shapes (..., m); by default neither is sent.

    Returns
    -------
    Traffic
        Bytes sent in the forward and the backward pass, without the few numbers that devices
        exchange beforehand to compare arguments.

    References
    ----------
    Spec §9.
    """
    tokens = (prod(key) + prod(value)) * itemsize + prod(times) * time_size
    shard = tokens + prod(key_mask)
    return Traffic((devices - 1) * shard, (devices - 1) * shard + devices * tokens)
