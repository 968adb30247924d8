"""What rings are made of: chunks, blocks that cover every pair once, merging, bytes."""

import numpy as np
import pytest

import afa_core as afa
from afa_core._array.masks import Visibility
from afa_core.distributed.ring import blocks_of, merge, traffic
from afa_core.distributed.shards import chunks_of, order_of_chunks, padded, picked, restoring
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import Fixed


def test_order_is_undone():
    order = order_of_chunks(3, causal=True)
    assert order == [0, 5, 1, 4, 2, 3]
    x = np.arange(24).reshape(2, 12)
    there = picked(x, order, 6, -1, xp=np)
    np.testing.assert_array_equal(there[0], [0, 1, 10, 11, 2, 3, 8, 9, 4, 5, 6, 7])
    np.testing.assert_array_equal(picked(there, restoring(order), 6, 1, xp=np), x)


def test_padding_repeats_tokens_and_hides_keys():
    np.testing.assert_array_equal(padded(np.arange(5), 4, 0, xp=np), [0, 1, 2, 3, 4, 4, 4, 4])
    seen = padded(np.ones((2, 3), bool), 2, -1, xp=np)
    np.testing.assert_array_equal(seen, [[True, True, True, False]] * 2)
    x = np.ones((2, 4, 1))
    assert padded(x, 4, -2, xp=np) is x


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("devices", [1, 2, 5])
def test_blocks_cover_every_pair_once(devices, causal):
    """Whatever the step, a causal device evaluates two pairs of chunks, beside its own."""
    size = 6
    places = [
        np.concatenate([np.arange(3) + 3 * c for c in chunks_of(i, devices, causal=causal)])
        if causal
        else np.arange(size) + size * i
        for i in range(devices)
    ]
    seen = np.zeros((devices * size,) * 2, int)
    for device in range(devices):
        for step in range(devices):
            source = (device - step) % devices
            which = 0 if step == 0 else 1 if source < device else 2
            block = blocks_of(size, size, causal=causal)[which]
            queries = places[device][block.queries.start : block.queries.stop]
            keys = places[source][block.keys.start : block.keys.stop]
            pairs = np.ones((len(queries), len(keys)), int)
            assert pairs.size == (size * size // 2 if causal and step else size * size)
            seen[np.ix_(queries, keys)] += np.tril(pairs) if block.causal else pairs
    expected = np.ones_like(seen)
    np.testing.assert_array_equal(seen, np.tril(expected) if causal else expected)


def fixed(form, modes):
    return Fixed((), modes, form, afa.StudentT, 5, False, False, Visibility(1, 1, False, None))


@pytest.mark.parametrize("form", [afa.IsotropicSDE, afa.DiagonalSDE, afa.RadialTangentialSDE])
def test_merge(form):
    """Means of weights far apart, of units far from them, of no keys, and of NaN."""
    modes = 2
    known = fixed(form, modes)
    sets, width = known.sets, 2 * modes * known.estimates
    rng = np.random.default_rng(0)
    total = [rng.uniform(1.0, 2.0, (1, 4, sets)) for _ in range(2)]
    peak = [np.zeros((1, 4, sets)), np.zeros((1, 4, sets))]
    for x in (total[0], peak[0]):
        x[:, 1] = 0.0 if x is total[0] else -np.inf
    total[0][:, 2], peak[1][:, 2] = 1e-200, -600.0
    total[1][:, 2] = 1e200
    peak[0][:, 3], peak[1][:, 3] = -np.inf, 300.0
    total[0][:, 3] = total[1][:, 3] = 0.0
    mean = [np.where(t[..., :1] > 0.0, rng.standard_normal((1, 4, width)), 0.0) for t in total]
    parts = [Result(m, t, p, t) for m, p, t in zip(mean, peak, total, strict=True)]
    found = merge(*parts, known, xp=np)

    logs = [p + np.log(np.where(t > 0.0, t, 1.0)) for p, t in zip(peak, total, strict=True)]
    share = np.where(total[0] > 0.0, 1.0 / (1.0 + np.exp(logs[1] - logs[0])), 0.0)
    share = np.repeat(share, 2, axis=-1) if form is not afa.DiagonalSDE else share
    share = np.tile(share, 2) if form is afa.DiagonalSDE else np.repeat(share, modes, axis=-1)
    expected = share * mean[0] + (1.0 - share) * mean[1]
    np.testing.assert_allclose(found.mean, expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(found.precision, total[0] + total[1])
    whole = found.peak + np.log(np.where(found.total > 0.0, found.total, 1.0))
    np.testing.assert_allclose(whole[:, :3], np.logaddexp(*logs)[:, :3], rtol=1e-14)
    assert (found.total[:, 3] == 0.0).all()
    assert (found.peak[:, 3] == -np.inf).all()
    spoilt = parts[0]._replace(total=np.full_like(total[0], np.nan))
    assert np.isnan(merge(spoilt, parts[1], known, xp=np).mean).all()


def test_traffic():
    """Keys there; keys, and once more the derivatives that come home, back."""
    found = traffic(4, (2, 8, 6), (2, 8, 4), 4)
    assert found == (3 * 640, 3 * 640 + 4 * 640)
    assert traffic(1, (2, 8, 6), (2, 8, 4), 4).forward == 0
    more = traffic(4, (2, 8, 6), (2, 8, 4), 4, times=(8,), key_mask=(1, 8))
    assert more == (3 * 712, 3 * 712 + 4 * 704)
