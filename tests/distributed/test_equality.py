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
