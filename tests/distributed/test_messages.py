"""Arguments that do not fit are refused, by the same error on all ranks."""

import pytest

RANK_MESSAGES = {
    "shapes": "ValueError: `query` must be the same on all ranks",
    "dtypes": "ValueError: `value` must be the same on all ranks",
    "settings": "ValueError: `weighting.dof` must be the same on all ranks",
    "models": "ValueError: `sde.decay` must be the same on all ranks",
    "gradients": "ValueError: whether gradients are taken must be the same on all ranks",
    "times": "ValueError: whether gradients of times are taken must be the same on all ranks",
    "chunks": "ValueError: `query` and `key` must hold the same two chunks",
    "mask": "TypeError: `key_mask` must be boolean",
    "option": "TypeError: options must be among",
    "mesh": "ValueError: `mesh` must have one axis, got 2",
}
DEVICE_MESSAGES = {
    "axis": "ValueError: `axis_name` must be an axis of `mesh`, one of 'ring', got 'tokens'",
    "causal": "ValueError: `query` and `key` must have as many tokens",
    "option": "TypeError: options must be among",
    "mask": "TypeError: `key_mask` must be boolean",
    "tile": "ValueError: `tile` must be a positive number",
    "vma": "ValueError: `ring_attention` must be called where varying axes are not checked",
    "chunks": "ValueError: `query` and `key` must hold the same two chunks",
}


@pytest.mark.parametrize("call", RANK_MESSAGES)
def test_ranks_refuse(call, ranks):
    """Every rank raises, so that none waits for another."""
    for each in ranks:
        assert each["messages"][call].startswith(RANK_MESSAGES[call])


@pytest.mark.parametrize("call", DEVICE_MESSAGES)
def test_devices_refuse(call, devices):
    assert devices["messages"][call].startswith(DEVICE_MESSAGES[call])
