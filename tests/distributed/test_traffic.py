"""`traffic` predicts the bytes that devices send."""

from afa_core.distributed import traffic


def test_formula():
    """Forward keys and values; backward these and their gradients, which are sent once more."""
    found = traffic(4, (2, 8, 6), (2, 8, 4), 4)
    assert found == (3 * 640, 3 * 640 + 4 * 640)
    assert traffic(1, (2, 8, 6), (2, 8, 4), 4).forward == 0
    more = traffic(4, (2, 8, 6), (2, 8, 4), 4, times=(8,), key_mask=(1, 8))
    assert more == (3 * 712, 3 * 712 + 4 * 704)
    sizes = {"times": (8,), "key_mask": (1, 8), "level": (2, 8, 1), "query_times": (8,)}
    both = traffic(4, (2, 8, 6), (2, 8, 4), 4, **sizes)
    assert both == (3 * (840 + 136), 3 * (840 + 128) + 4 * 832)


def test_bytes_sent(ranks):
    """Every rank sends what `traffic` predicts, no more and no less."""
    for each in ranks:
        for found in each["bytes"]:
            assert found["sent"] == found["predicted"]
