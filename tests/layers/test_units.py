"""A layer in another unit of time gives what it gave, at times in that unit."""

import numpy as np
import pytest

from afa_core.layer import in_time_unit


@pytest.mark.parametrize("constraint", ["softplus", "absolute"])
@pytest.mark.parametrize("unit", [1e-3, 0.7, 60.0])
def test_same_outputs(variant, make_layer, tokens, constraint, unit):
    layer, (x, times, _) = make_layer(variant, constraint=constraint), tokens
    changed = in_time_unit(layer, unit)
    expected = layer(x, query_times=times).output
    assert np.ptp(layer(x, query_times=times / unit).output - expected) > 1e-4
    found = changed(x, query_times=times / unit).output
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_units_compose_and_keep_the_dtype(variant, make_layer):
    layer = make_layer(variant, "float32")
    back = in_time_unit(in_time_unit(layer, np.float64(8.0)), 1 / 8.0)
    assert back.settings == layer.settings
    for name, x in layer.parameters.items():
        assert back.parameters[name].dtype == x.dtype
        positive = name.startswith("raw_") and layer.settings.constraint == "absolute"
        expected = abs(x) if positive and name in ("raw_decay", "raw_process") else x
        np.testing.assert_allclose(back.parameters[name], expected, rtol=1e-5, err_msg=name)


def test_refused(make_layer):
    with pytest.raises(ValueError, match="`unit` must be finite and > 0, got 0"):
        in_time_unit(make_layer("isotropic"), 0.0)
    for unit in (np.ones(2), np.asarray(2.0), "1"):
        with pytest.raises(TypeError, match="`unit` must be a number, got"):
            in_time_unit(make_layer("isotropic"), unit)
