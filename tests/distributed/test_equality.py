"""Rings of devices and of ranks give the results of one device, to rounding."""

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


def excess(errors):
    """Return the errors beyond tolerance."""
    return {
        name: error
        for name, error in errors.items()
        if error > TOLERANCE["float32" if "float32" in name else "float64"]
    }


def test_devices_equal_one(devices):
    assert len(devices["errors"]) >= 40
    assert excess(devices["errors"]) == {}


def test_ranks_equal_one(ranks):
    assert len(ranks[0]["errors"]) > 180
    for each in ranks:
        assert excess(each["errors"]) == {}


def test_divided_arrays_equal_whole_ones(divided):
    """Within `jax.shard_map`, on explicit meshes, and eager on arrays that are sharded."""
    assert len(divided["errors"]) >= 15
    assert excess(divided["errors"]) == {}
