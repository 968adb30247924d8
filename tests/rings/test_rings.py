"""Rings of devices and of ranks give what one device does, to rounding, and refuse the rest."""

import pytest

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


def excess(errors):
    """Return the errors beyond tolerance."""
    return {
        name: error
        for name, error in errors.items()
        if error > TOLERANCE["float32" if "float32" in name else "float64"]
    }


def test_devices_equal_one(devices):
    assert len(devices["errors"]) > 40
    assert excess(devices["errors"]) == {}


def test_ranks_equal_one(ranks):
    assert len(ranks[0]["errors"]) > 300
    for each in ranks:
        assert excess(each["errors"]) == {}


def test_bytes_sent(ranks):
    """Every rank sends what `traffic` says, no more and no less."""
    for each in ranks:
        assert each["sent"]["sent"] == each["sent"]["told"]


SAID_BY_RANKS = {
    "shapes": "ValueError: `query` must be the same on all ranks",
    "dtypes": "ValueError: `value` must be the same on all ranks",
    "settings": "ValueError: `weighting.dof` must be the same on all ranks",
    "models": "ValueError: `sde.decay` must be the same on all ranks",
    "gradients": "ValueError: whether gradients are taken must be the same on all ranks",
    "chunks": "ValueError: `query` and `key` must hold the same two chunks",
    "mask": "TypeError: `key_mask` must be boolean",
    "option": "TypeError: options must be among",
    "mesh": "ValueError: `mesh` must have one axis, got 2",
}
SAID_BY_DEVICES = {
    "axis": "ValueError: `axis_name` must be an axis of `mesh`, one of 'ring', got 'tokens'",
    "causal": "ValueError: `query` and `key` must have as many tokens",
    "option": "TypeError: options must be among",
    "mask": "TypeError: `key_mask` must be boolean",
    "tile": "ValueError: `tile` must be a positive number",
    "vma": "ValueError: `ring_attention` must be called where varying axes are not checked",
    "chunks": "ValueError: `query` and `key` must hold the same two chunks",
}


@pytest.mark.parametrize("call", SAID_BY_RANKS)
def test_ranks_refuse(call, ranks):
    """All ranks say the same, so that none waits for another."""
    for each in ranks:
        assert each["refused"][call].startswith(SAID_BY_RANKS[call])


@pytest.mark.parametrize("call", SAID_BY_DEVICES)
def test_devices_refuse(call, devices):
    assert devices["refused"][call].startswith(SAID_BY_DEVICES[call])
