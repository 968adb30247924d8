"""The tiles of all devices cover every visible pair once."""

import numpy as np
import pytest

from afa_core.distributed.chunks import device_chunks
from afa_core.distributed.ring import ring_tiles


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("devices", [1, 2, 5])
def test_tiles_cover_every_pair_once(devices, causal):
    """At every step but the first, a causal device evaluates two pairs of chunks."""
    size = 6
    positions = [
        np.concatenate([np.arange(3) + 3 * c for c in device_chunks(i, devices, causal=causal)])
        if causal
        else np.arange(size) + size * i
        for i in range(devices)
    ]
    evaluated = np.zeros((devices * size,) * 2, int)
    tiles = ring_tiles(size, size, causal=causal)
    for device in range(devices):
        for step in range(devices):
            source = (device - step) % devices
            earlier = tiles.earlier if source < device else tiles.later
            tile = tiles.own if step == 0 else earlier
            queries = positions[device][tile.queries.start : tile.queries.stop]
            keys = positions[source][tile.keys.start : tile.keys.stop]
            pairs = np.ones((len(queries), len(keys)), int)
            assert pairs.size == (size * size // 2 if causal and step else size * size)
            evaluated[np.ix_(queries, keys)] += np.tril(pairs) if tile.causal else pairs
    expected = np.ones_like(evaluated)
    np.testing.assert_array_equal(evaluated, np.tril(expected) if causal else expected)
