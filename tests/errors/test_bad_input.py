"""Bad input raises the error of its row, in the same words on every array library."""

from dataclasses import replace

import pytest

from . import attention, decoding, devices, estimates, model, window
from .cases import hosted

CASES = [case for table in (attention, estimates, model, decoding, window) for case in table.CASES]


def parametrised(cases):
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


def assert_raises(case, library, other, **names):
    """Check the error of every function of the case, to the letter."""
    arguments = hosted(case.arguments, library, other)
    for function in case.functions:
        with pytest.raises(type(case.error)) as caught:
            function(**arguments)
        assert type(caught.value) is type(case.error)
        assert str(caught.value) == str(case.error).format(**names, **arguments), function.__name__


@parametrised(CASES)
def test_bad_input_raises_the_error_of_its_row(case, library, host):
    other = host("torch" if library.name == "numpy" else "numpy")
    assert_raises(case, library, other, here=library.name, there=other.name)


@parametrised(devices.CASES)
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("array_api_strict", "CPU_DEVICE", "device1"), ("torch", "cpu", "meta")],
)
def test_devices_must_agree(case, name, first, second, host):
    library = host(name)

    def on_second_device(x):
        return library.from_numpy(x, device=second)

    names = (first, second)
    if name == "array_api_strict":
        names = tuple(f"array_api_strict.Device('{each}')" for each in names)
    other = replace(library, from_numpy=on_second_device)
    assert_raises(case, library, other, here=names[0], there=names[1])
