"""Backends: found by name, converting arrays both ways, with a reason where one is unusable."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import afa_core as afa
from afa_core import backend as backends
from afa_core._array.arrays import library_name, namespace
from afa_core.backend import GROUP, Backend, load, names, unusable

REGISTERED = ["cupy", "jax", "numpy", "torch"]

ARRAYS = {
    "double": np.linspace(-1.0, 1.0, 6).reshape(2, 3),
    "single": np.linspace(-1.0, 1.0, 6, dtype="float32"),
    "complex": np.asarray([[1 + 2j, -3j]]),
    "single complex": np.asarray([1 + 2j, -3j], "complex64"),
    "integers": np.asarray([-(2**40), 2**40]),
    "truth": np.asarray([True, False]),
    "scalar": np.asarray(2.5),
    "empty": np.zeros((0, 3)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "reversed": np.arange(6.0)[::-1],
    "every other": np.arange(6.0)[::2],
    "broadcast": np.broadcast_to(np.asarray([1.0, 2.0]), (3, 2)),
}


def namespace_name(x):
    return library_name(namespace(x=x))


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def test_names_are_those_of_the_entry_points():
    assert [name for name in names() if name in REGISTERED] == REGISTERED
    assert names() == sorted(names())


@pytest.mark.parametrize("name", REGISTERED)
def test_registered_backends_load(name):
    backend = load(name)
    assert isinstance(backend, Backend)
    assert backend.name == name
    assert bool(backend.unavailable) == (not backend.devices)
    assert bool(backend.version) == (not backend.unavailable)


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_round_trip(kind, library):
    x = ARRAYS[kind]
    for each in (x, read_only(x)):
        hosted = library.from_numpy(each)
        assert namespace_name(hosted).startswith(library.name)
        back = library.to_numpy(hosted)
        assert isinstance(back, np.ndarray)
        assert back.dtype == x.dtype
        np.testing.assert_array_equal(back, x)


def test_arrays_round_trip_through_every_device(library):
    for device in library.devices:
        x = np.ones(3, "float32")
        hosted = library.from_numpy(x, device=device)
        np.testing.assert_array_equal(library.to_numpy(hosted), x)
    default = library.from_numpy(np.ones(3, "float32"), device=library.devices[0])
    assert default.device == library.from_numpy(np.ones(3, "float32")).device


def test_torch_arrays_are_copies(host):
    x = np.zeros(3)
    host("torch").from_numpy(x)[0] = 1.0
    assert not x.any()


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_half_precision_round_trips(name, host):
    """NumPy has no bfloat16: JAX brings one, torch's is converted to single precision."""
    backend = host(name)
    x = np.asarray([1.0, -2.5, 3e38], "float32")
    if name == "torch":
        import torch

        hosted = torch.asarray(x, dtype=torch.bfloat16)
    else:
        import jax.numpy as jnp

        hosted = jnp.asarray(x, dtype=jnp.bfloat16)
    back = backend.to_numpy(hosted)
    assert isinstance(back, np.ndarray)
    again = backend.from_numpy(back).astype(jnp.bfloat16) if name == "jax" else None
    if name == "torch":
        again = backend.from_numpy(back).to(torch.bfloat16)
    assert (again == hosted).all()


def test_bfloat16_moves_from_jax_to_torch(host):
    import torch

    jax, torch_backend = host("jax"), host("torch")
    x = jax.from_numpy(np.asarray([1.0, -2.5])).astype("bfloat16")
    moved = torch_backend.from_numpy(jax.to_numpy(x))
    assert moved.dtype == torch.bfloat16
    np.testing.assert_array_equal(torch_backend.to_numpy(moved), [1.0, -2.5])


@pytest.mark.parametrize(
    "read", [lambda x: x.sum().item(), lambda x: x.nonzero(), lambda x: x[x > 0], bool]
)
def test_torch_reads_raise(read, host):
    import torch

    with host("torch").no_transfers():
        x = torch.ones(1) + 1.0
        with pytest.raises(RuntimeError, match="to the host"):
            read(x)


def test_torch_transfers_raise(host):
    """A tensor of a GPU that has no memory, so that there need be none."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), host("torch").no_transfers():
        x = torch.ones(3, device="cuda")
        with pytest.raises(RuntimeError, match="to the host"):
            x.cpu()


def test_jax_transfers_are_guarded(host):
    import jax

    with host("jax").no_transfers():
        assert jax.config.jax_transfer_guard_device_to_host == "disallow"


def test_lazy_and_trained_torch_tensors_become_numpy_arrays(host):
    import torch

    backend = host("torch")
    z = torch.asarray([1 + 2j, -3j])
    np.testing.assert_array_equal(backend.to_numpy(z.conj()), [1 - 2j, 3j])
    np.testing.assert_array_equal(backend.to_numpy(z.conj().imag), [-2.0, 3.0])
    np.testing.assert_array_equal(backend.to_numpy(torch.ones(2, requires_grad=True)), [1.0, 1.0])


def loss_and_tokens(backend):
    sde = afa.IsotropicSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
    x = backend.from_numpy(np.random.default_rng(0).standard_normal((3, 4)))

    def loss(query, unused):
        return (afa.attention(query, x, x, sde) ** 2).sum()

    return loss, x


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_gradients_are_those_of_finite_differences(name, host):
    backend = host(name)
    loss, x = loss_and_tokens(backend)
    if name == "jax":
        loss = backend.compile(loss)
    gradient, none = backend.grad(loss, x, x)
    step = np.zeros((3, 4))
    step[1, 2] = 1e-6
    up, down = (float(loss(backend.from_numpy(backend.to_numpy(x) + s), x)) for s in (step, -step))
    assert abs(float(gradient[1, 2]) - (up - down) / 2e-6) < 1e-8
    assert not backend.to_numpy(none).any()


@pytest.mark.parametrize("name", ["numpy", "array_api_strict"])
def test_libraries_without_derivatives_have_no_grad(name, host):
    assert host(name).grad is None


@pytest.mark.parametrize("name", ["numpy", "jax", "array_api_strict"])
def test_compiled_functions_give_the_same_result(name, host):
    """torch's compiler takes seconds and is tested with the transforms."""
    backend = host(name)
    sde = afa.IsotropicSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
    x = backend.from_numpy(np.random.default_rng(0).standard_normal((3, 4)))

    def run(x):
        return afa.attention(x, x, x, sde)

    found, exact = (backend.to_numpy(f(x)) for f in (backend.compile(run), run))
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_bare_modules_are_hosted():
    pytest.importorskip("array_api_strict")
    backend = load("array_api_strict")
    assert backend.name == backend.module == "array_api_strict"
    assert not backend.unavailable
    assert backend.version
    assert backend.devices[:2] == ("CPU_DEVICE", "device1")
    assert load("array_api_compat.numpy").devices == ("cpu",)


def test_modules_short_of_the_standard_are_unavailable(tmp_path, monkeypatch):
    (tmp_path / "incomplete.py").write_text("def asarray(x): return [x]\n")
    monkeypatch.syspath_prepend(tmp_path)
    backend = load("incomplete")
    assert backend.unavailable == "its arrays have no namespace, which the array API asks for"


OPAQUE = """\
import sys
from types import SimpleNamespace

from numpy import float64

class Opaque:
    dtype, device = float64, "cpu"
    def __array_namespace__(self, api_version=None):
        return sys.modules[__name__]

def asarray(x):
    return Opaque()

def __array_namespace_info__():
    return SimpleNamespace(default_device=lambda: "cpu", devices=lambda: ["cpu"])
"""


def test_modules_whose_arrays_numpy_cannot_read_are_unavailable(tmp_path, monkeypatch):
    (tmp_path / "opaque.py").write_text(OPAQUE)
    monkeypatch.syspath_prepend(tmp_path)
    reason = "its arrays do not become NumPy's by `numpy.asarray`"
    assert load("opaque").unavailable == reason


def test_arrays_of_mlx_have_no_device_and_no_double_precision():
    mx = pytest.importorskip("mlx.core")
    backend = load("mlx.core")
    x = np.random.default_rng(0).standard_normal((5, 4))
    for dtype in (np.float32, np.float64):
        tokens = backend.from_numpy(x.astype(dtype))
        assert isinstance(tokens, mx.array)
        sde = afa.IsotropicSDE(0.1, 0.5, afa.Noise(0.2, 1.0, 1.0))
        found = afa.attention(tokens, tokens, tokens, sde)
        assert found.dtype == tokens.dtype
        expected = afa.attention(*[x.astype(dtype)] * 3, sde)
        np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_library", "No module named 'no_such_library'"),
        ("math", "module 'math' has no attribute 'asarray'"),
        ("", "Empty module name"),
        (None, "'NoneType' object has no attribute 'startswith'"),
    ],
)
def test_unknown_names_raise_an_error_with_those_that_exist(name, reason, monkeypatch):
    monkeypatch.setattr(backends, "names", lambda: REGISTERED)
    with pytest.raises(ValueError, match=r"^`name` must be") as caught:
        load(name)
    assert str(caught.value) == (
        "`name` must be a registered backend ('cupy', 'jax', 'numpy', 'torch') or the path of an "
        f"array module, got {name!r}: {reason}."
    )


def test_relative_names_raise_an_error():
    with pytest.raises(ValueError, match=r"^`name` must be a registered backend"):
        load(".numpy")


def test_functions_of_an_unavailable_backend_raise_its_reason():
    backend = unusable("example", "example", "no driver")
    assert backend.unavailable == "no driver"
    assert backend.version == ""
    assert backend.devices == ()
    assert backend.grad is None
    for function in (backend.from_numpy, backend.to_numpy, backend.compile):
        with pytest.raises(
            RuntimeError, match=r"^backend 'example' cannot be used here: no driver$"
        ):
            function(np.ones(3))


@pytest.mark.parametrize("name", REGISTERED)
def test_reason_of_a_missing_library_is_how_to_install_it(name, tmp_path):
    module = {"jax": "jax"}.get(name, name)
    script = f"""
        import sys
        sys.modules[{module!r}] = None
        from afa_core.backend import load
        print(load({name!r}).unavailable)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"not installed; pip install 'afa-core[{name}")


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """A distribution that somebody else registers backends with."""
    (tmp_path / "example.py").write_text(
        "from afa_core.backend import unusable\n"
        "BACKEND = unusable('example', 'example', 'no driver')\n"
        "NUMBER = 3\n"
    )
    info = tmp_path / "example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nexample = example:BACKEND\nnumber = example:NUMBER\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("example", None)


def test_third_parties_register_their_own(third_party):
    assert "example" in names()
    assert load("example").unavailable == "no driver"


def test_entry_point_must_name_a_backend(third_party):
    with pytest.raises(TypeError) as caught:
        load("number")
    assert str(caught.value) == (
        "entry point 'number' must name a Backend, got int: correct 'example:NUMBER' in the "
        "package that registers it."
    )
