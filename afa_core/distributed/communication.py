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
    level: tuple[int, ...] = (0,),
    query_times: tuple[int, ...] = (0,),
) -> Traffic:
    """Return the bytes that each device of a ring sends, from the shapes of its own shard.

    In the forward pass every shard of keys and values is sent P − 1 times. In the backward pass it
    is sent P − 1 times again, and its gradient P times: the last time back to its own device.
    Without times this is what ring attention with dot products sends. Correlated keys add their
    levels, which are sent like times, and the times and the key mask of all devices, which each
    device sends P − 1 times before, and the gradients of times afterwards, if they are taken.

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
    level : tuple of int
        Shape (..., m, ts) of the levels of correlated keys: t terms, one or two and twice as many
        if not causal, for each of s filters, one a mode in the diagonal form, two in the
        radial–tangential one and otherwise one. Leading axes are those of times and parameters.
    query_times : tuple of int
        Shape (..., n) of the times of queries, if keys are correlated.

    Returns
    -------
    Traffic
        Bytes sent in the forward and the backward pass, without the few numbers that devices
        exchange beforehand to compare arguments.

    References
    ----------
    Spec §9.
    """
    tokens = (prod(key) + prod(value)) * itemsize + (prod(times) + prod(level)) * time_size
    shard = tokens + prod(key_mask)
    all_times = all_masks = 0
    if prod(level):
        all_times = (prod(times) + prod(query_times)) * time_size
        all_masks = prod(key_mask)
    forward = (devices - 1) * (shard + all_times + all_masks)
    return Traffic(forward, (devices - 1) * (shard + all_times) + devices * tokens)
