"""Sequences are divided into chunks, padded, and put together again."""

import numpy as np

from afa_core.distributed.chunks import chunk_order, inverse_permutation, pad_tokens, take_chunks


def test_order_is_undone():
    order = chunk_order(3, causal=True)
    assert order == [0, 5, 1, 4, 2, 3]
    x = np.arange(24).reshape(2, 12)
    reordered = take_chunks(x, order, 6, -1, xp=np)
    np.testing.assert_array_equal(reordered[0], [0, 1, 10, 11, 2, 3, 8, 9, 4, 5, 6, 7])
    restored = take_chunks(reordered, inverse_permutation(order), 6, 1, xp=np)
    np.testing.assert_array_equal(restored, x)


def test_padding_repeats_tokens_and_hides_keys():
    padded = pad_tokens(np.arange(5), 4, 0, xp=np)
    np.testing.assert_array_equal(padded, [0, 1, 2, 3, 4, 4, 4, 4])
    mask = pad_tokens(np.ones((2, 3), bool), 2, -1, xp=np)
    np.testing.assert_array_equal(mask, [[True, True, True, False]] * 2)
    x = np.ones((2, 4, 1))
    assert pad_tokens(x, 4, -2, xp=np) is x
