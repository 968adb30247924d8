"""The core under what libraries do to functions: compile, differentiate, map, trace, restrict."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import afa_core as afa

FORMS = ("isotropic", "diagonal", "radial-tangential")
forms = pytest.mark.parametrize("form", FORMS)


def model(form, array, decay=0.3):
    """A model whose parameters are all arrays."""
    rng = np.random.default_rng(1)
    shape = (2,) if form == "diagonal" else ()
    decay = array(np.full(shape, decay))
    frequency = array(rng.standard_normal(2))
    noise = afa.Noise(*(array(rng.uniform(0.5, 1.5, shape)) for _ in range(3)))
    if form == "isotropic":
        return afa.IsotropicSDE(decay, frequency, noise, array(rng.standard_normal(2)))
    if form == "diagonal":
        return afa.DiagonalSDE(decay, frequency, noise)
    across = afa.Noise(*(array(rng.uniform(0.5, 1.5, shape)) for _ in range(3)))
    return afa.RadialTangentialSDE(decay, frequency, noise, across, array(rng.standard_normal(2)))


def tokens(array, *leading, n=3, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(array(rng.standard_normal((*leading, n, 4))) for _ in range(3))


def everything(form, array, decay=0.3):
    """Every argument that carries numbers, as one tree."""
    times = np.asarray([0.0, 0.7, 1.5])
    return {
        "sde": model(form, array, decay),
        "weighting": afa.StudentT(array(np.asarray(3.0))),
        "inverse_temperature": array(np.asarray(0.8)),
        "query_times": array(times + 0.1),
        "key_times": array(times),
        **dict(zip(("query", "key", "value"), tokens(array), strict=True)),
    }


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_gradient_through_no_decay(name, host):
    """dV/dμ at 0 is −σ²Δ²: smooth, not zero and not NaN (spec §2)."""
    backend = host(name)
    lag = backend.from_numpy(np.asarray([0.5, 2.0, 30.0]))

    def covariance(decay):
        return afa.IsotropicSDE(decay, 0.0, afa.Noise(0.7, 1.0, 1.0)).covariance(lag).sum()

    (slope,) = backend.grad(covariance, backend.from_numpy(np.asarray(0.0)))
    np.testing.assert_allclose(float(slope), -0.7 * (0.5**2 + 2.0**2 + 30.0**2), rtol=1e-12)


# JAX


@pytest.fixture
def jax(host):
    host("jax")
    return pytest.importorskip("jax")


@forms
def test_jax_jit_grad_and_vmap(form, jax):
    """Each compiled in one piece, and compared with NumPy and with finite differences."""
    given, seen = everything(form, jax.numpy.asarray), np.tril(np.ones((3, 3), bool))
    seen[1] = False
    flatten = jax.tree.leaves

    def run(given):
        return afa.estimate(**given, mask=jax.numpy.asarray(seen))

    def loss(given):
        return sum((leaf**2).sum() for leaf in flatten(run(given)))

    def exact(scale):
        given = jax.tree.map(lambda x: scale * x, everything(form, np.asarray))
        return flatten(afa.estimate(**given, mask=seen))

    found = jax.jit(run)(given)
    assert isinstance(found, afa.Estimate)
    for a, b in zip(flatten(found), exact(1.0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)

    stacked = jax.tree.map(lambda x: jax.numpy.stack([x, 2.0 * x]), given)
    mapped = jax.jit(jax.vmap(run))(stacked)
    for index, scale in enumerate((1.0, 2.0)):
        for a, b in zip(flatten(mapped), exact(scale), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-11, atol=1e-12)

    slope = jax.jit(jax.value_and_grad(loss))
    _, gradient = slope(given)
    assert jax.tree.structure(gradient) == jax.tree.structure(given)
    assert isinstance(gradient["sde"], type(given["sde"]))
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda x: rng.standard_normal(x.shape), given)
    up, down = (
        slope(jax.tree.map(lambda x, by: x + step * by, given, direction))[0]  # noqa: B023
        for step in (1e-6, -1e-6)
    )
    along = sum((a * b).sum() for a, b in zip(flatten(gradient), flatten(direction), strict=True))
    np.testing.assert_allclose(along, (up - down) / 2e-6, rtol=1e-6)


def test_jax_without_double_precision(tmp_path):
    """With x64 off nothing warns of truncation, and the results are single precision's."""
    script = """
        import jax, jax.numpy as jnp, numpy as np
        import afa_core as afa

        assert not jax.config.jax_enable_x64
        rng = np.random.default_rng(0)
        x, decay = rng.standard_normal((2, 3, 4)), np.asarray([0.1, 0.4])
        frequency, noise = np.asarray([0.5, 1.0]), afa.Noise(0.2, 1.0, 1.0)
        times, mask = np.arange(3), np.asarray([[True, False, True]] * 3)

        def run(x, decay, frequency, times, mask):
            isotropic = afa.IsotropicSDE(decay, frequency, noise)
            directed = afa.RadialTangentialSDE(decay, frequency, noise, noise)
            diagonal = afa.DiagonalSDE(decay, frequency, noise)
            options = {"key_times": times, "query_times": times, "mask": mask}
            models = (isotropic, directed, diagonal)
            tiles = {"implementation": "streaming", "tile": 2}
            return [
                *(afa.attention(x, x, x, sde, **options) for sde in models),
                afa.attention(x, x, x, isotropic, **options, **tiles),
            ]

        exact = run(x, decay, frequency, times, mask)
        given = [jnp.asarray(each) for each in (x, decay, frequency, times, mask)]
        for a, b in zip(jax.jit(run)(*given), exact, strict=True):
            assert a.dtype == jnp.float32
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)

        def loss(x):
            return sum((each**2).sum() for each in run(x, *given[1:]))

        gradient = jax.jit(jax.grad(loss))(given[0])
        assert gradient.dtype == jnp.float32 and np.isfinite(gradient).all()
        assert jax.jit(jax.vmap(lambda x: run(x, *given[1:])))(given[0])[0].shape == (2, 2, 3, 4)
        z = jnp.asarray(x[..., :2] + 1j * x[..., 2:])
        est = afa.estimate(z, z, z, afa.IsotropicSDE(0.1, 0.5, noise))
        assert est.mean.dtype == jnp.complex64
        assert afa.sample(est, rng=rng).dtype == jnp.complex64
        assert afa.predict(est.mean, afa.IsotropicSDE(0.1, 0.5, noise), 1.0).dtype == jnp.complex64
    """
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# PyTorch


def compiled(torch, function, backend="aot_eager"):
    return torch.compile(function, fullgraph=True, backend=backend)


@forms
def test_torch_compiles_in_one_graph(form, torch):
    given = everything(form, torch.asarray)
    mask = torch.asarray([[True, True, False], [False, False, False], [True, True, True]])

    def run(given):
        mean, precision = afa.estimate(**given, mask=mask, layout="halves")
        return mean, precision, afa.predict(mean, given["sde"], 0.5)

    leaves = torch.utils._pytree.tree_leaves
    for a, b in zip(leaves(run(given)), leaves(compiled(torch, run)(given)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_torch_compiles_without_times_and_differentiates(torch):
    sde = model("isotropic", torch.asarray)
    query, key, value = (x.requires_grad_() for x in tokens(torch.asarray))

    def run(query, key, value):
        return afa.attention(query, key, value, sde, weighting=afa.Gaussian())

    def gradients(function):
        loss = function(query, key, value).square().sum()
        return torch.autograd.grad(loss, (query, key, value))

    for a, b in zip(gradients(run), gradients(compiled(torch, run)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_torch_compiles_parameters_that_are_changing_numbers(torch):
    (x, *_) = tokens(torch.asarray)

    def attend(decay):
        noise = afa.Noise(0.1, 1.0, 1.0)
        return afa.attention(x, x, x, afa.IsotropicSDE(decay, torch.ones(2), noise))

    run = compiled(torch, attend)
    for decay in (0.1, 0.2, 0.3):  # the second makes it a symbol
        torch.testing.assert_close(run(decay), attend(decay))


def test_torch_compiles_complex_modes(torch):
    sde = model("diagonal", torch.asarray)
    query, key, value = (torch.complex(x[:, :2], x[:, 2:]) for x in tokens(torch.asarray))

    def run(query, key, value):
        return afa.attention(query, key, value, sde)

    expected = run(query, key, value)
    torch.testing.assert_close(compiled(torch, run)(query, key, value), expected)


def test_torch_compiles_to_machine_code(torch):
    """Inductor once: it takes long, and the graphs of the others are alike."""
    sde = model("isotropic", lambda x: torch.asarray(x, dtype=torch.float32))
    query, key, value = tokens(lambda x: torch.asarray(x, dtype=torch.float32))

    def run(query, key, value):
        return afa.attention(query, key, value, sde)

    result = compiled(torch, run, "inductor")(query, key, value)
    torch.testing.assert_close(result, run(query, key, value), rtol=1e-5, atol=1e-6)


@forms
def test_torch_vmap(form, torch):
    given = everything(form, torch.asarray)
    stacked = torch.utils._pytree.tree_map(lambda x: torch.stack([x, 2.0 * x]), given)

    def run(given):
        return afa.estimate(**given)

    mapped = torch.func.vmap(run)(stacked)
    leaves = torch.utils._pytree.tree_leaves
    for index in range(2):
        one = torch.utils._pytree.tree_map(lambda x: x[index], stacked)  # noqa: B023
        for a, b in zip(leaves(mapped), leaves(run(one)), strict=True):
            torch.testing.assert_close(a[index], b, rtol=1e-12, atol=1e-14)


@forms
@pytest.mark.parametrize("decay", [0.3, 0.0])
def test_torch_gradcheck_of_every_argument(form, decay, torch):
    """The times among them; about no decay finite differences step to both sides."""
    given = everything(form, torch.asarray, decay)
    leaves, tree = torch.utils._pytree.tree_flatten(given)
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    mask = torch.asarray([[True, False, False], [False, False, False], [True, True, True]])

    def run(*leaves):
        given = torch.utils._pytree.tree_unflatten(list(leaves), tree)
        return tuple(torch.utils._pytree.tree_leaves(afa.estimate(**given, mask=mask)))

    assert torch.autograd.gradcheck(run, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(
    "weighting", [afa.Rational(3.0), afa.Gaussian(), afa.Uniform()], ids=lambda w: type(w).__name__
)
def test_torch_gradcheck_of_every_weighting(weighting, torch):
    given = everything("isotropic", torch.asarray) | {"weighting": weighting}
    query = given.pop("query").requires_grad_()

    def run(query):
        return afa.attention(query, **given, causal=False)

    assert torch.autograd.gradcheck(run, query, atol=1e-8)


@pytest.mark.parametrize("decay", [0.3, 0.0])
def test_torch_gradgradcheck_of_decay(decay, torch):
    frequency = torch.asarray([0.5], dtype=torch.float64)
    query, key, value = (x[:2, :2] for x in tokens(torch.asarray))

    def run(decay):
        sde = afa.IsotropicSDE(decay, frequency, afa.Noise(0.4, 1.0, 0.5))
        return afa.attention(query, key, value, sde)

    start = torch.tensor(decay, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, start)
    assert torch.autograd.gradgradcheck(run, start)


@forms
def test_torch_gradients_ignore_what_no_query_sees(form, torch):
    given = everything(form, torch.asarray)
    mask = torch.asarray([True, False, True])
    given["key"][1], given["value"][1], given["key_times"][1] = torch.nan, torch.inf, torch.nan
    leaves, tree = torch.utils._pytree.tree_flatten(given)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    options = {"mask": mask, "causal": False}
    if form == "radial-tangential":
        options["anchor"] = given["query"]
    mean, _ = afa.estimate(**torch.utils._pytree.tree_unflatten(leaves, tree), **options)
    for gradient in torch.autograd.grad(mean.square().sum(), leaves, materialize_grads=True):
        assert torch.isfinite(gradient).all()


@forms
def test_torch_meta_device(form, torch):
    """Shapes and dtypes come out without any arithmetic."""
    given = everything(form, lambda x: torch.asarray(x, dtype=torch.float32, device="meta"))
    mask = torch.ones((3, 3), dtype=torch.bool, device="meta")
    mean, precision = afa.estimate(**given, mask=mask)
    assert mean.device.type == "meta"
    assert mean.shape == (3, 4)
    assert mean.dtype == torch.float32
    for each in torch.utils._pytree.tree_leaves(precision):
        assert each.shape == ((3, 2) if form == "diagonal" else (3,))
    assert afa.predict(mean, given["sde"], 1.0).device.type == "meta"
    short = given | {name: given[name][:0] for name in ("key", "value", "key_times")}
    if form != "radial-tangential":
        assert afa.attention(**short).shape == (3, 4)


# The models as trees


@pytest.mark.parametrize("library", ["jax", "torch"])
@forms
def test_models_are_trees_of_their_parameters(form, library, host):
    backend = host(library)
    sde = model(form, backend.from_numpy)
    if library == "jax":
        from jax.tree_util import tree_flatten

        leaves, tree = tree_flatten(sde)
        rebuilt = tree.unflatten(leaves)
    else:
        from torch.utils._pytree import tree_flatten, tree_unflatten

        leaves, tree = tree_flatten(sde)
        rebuilt = tree_unflatten(leaves, tree)
    assert len(leaves) == {"isotropic": 6, "diagonal": 5, "radial-tangential": 9}[form]
    assert type(rebuilt) is type(sde)
    assert all(a is b for a, b in zip(tree_flatten(rebuilt)[0], leaves, strict=True))


# array_api_strict


@pytest.fixture
def strict(host):
    host("array_api_strict")
    module = pytest.importorskip("array_api_strict")
    module.set_array_api_strict_flags(
        api_version="2024.12",
        boolean_indexing=False,
        data_dependent_shapes=False,
        enabled_extensions=(),
    )
    yield module
    module.reset_array_api_strict_flags()


@forms
@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1", "no_float64", "no_x64"])
def test_strict_devices_and_flags(form, device, strict):
    """Nothing leaves the device, and nothing beyond the standard is asked for."""
    there = strict.Device(device)
    double = device in ("CPU_DEVICE", "device1")

    def array(x):
        wanted = "float64" if double else "float32"
        return strict.asarray(np.asarray(x, wanted), device=there)

    given = everything(form, array)
    seen = np.asarray([[True, True, False], [False, False, False], [True, True, True]])
    expected = afa.estimate(**everything(form, np.asarray), mask=seen)
    found = afa.estimate(**given, mask=strict.asarray(seen, device=there))
    home = strict.Device("CPU_DEVICE")
    assert found.mean.dtype == (strict.float64 if double else strict.float32)
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert a.device == there
        tolerance = 1e-12 if double else 2e-5
        result = np.asarray(a.to_device(home))
        np.testing.assert_allclose(result, b, rtol=tolerance, atol=tolerance)

    sde, value, times = given["sde"], given["value"], given["key_times"]
    some = afa.estimate(**given)
    anchor = {"anchor": value} if form == "radial-tangential" else {}
    results = [
        afa.attention_weights(**given),
        afa.attention(*(given[name] for name in ("query", "key", "value", "sde"))),
        afa.predict(some.mean, sde, 0.5),
        afa.predict(some.mean, sde, times),
        afa.innovation(some.mean, value),
        afa.gate(some.precision, 1.0),
        afa.sample(some, rng=np.random.default_rng(0), query_noise=0.1, **anchor),
        afa.equilibrium(sde, value),
        afa.delay_keys(times, 0.5),
        sde.transition(times[:, None]),
        sde.covariance(times[:1]),
        sde.residual_covariance(times[:1]),
    ]
    assert all(leaf.device == there for leaf in flat(results))
    sde.validate()
    assert afa.explain(**given).chosen
    if form != "radial-tangential":
        short = given | {name: given[name][:0, ...] for name in ("key", "value", "key_times")}
        assert not np.asarray(afa.attention(**short).to_device(home)).any()


def flat(tree):
    """The arrays of nested tuples and lists."""
    if isinstance(tree, tuple | list):
        return [leaf for each in tree for leaf in flat(each)]
    return [tree]
