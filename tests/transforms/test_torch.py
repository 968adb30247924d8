"""PyTorch: compiled in one graph, mapped, and without arithmetic."""

import afa_core as afa

from .problems import arguments_of, forms, model, tokens


def compiled(torch, function):
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@forms
def test_compiles_in_one_graph(form, torch):
    arguments = arguments_of(form, torch.asarray)
    mask = torch.asarray([[True, True, False], [False, False, False], [True, True, True]])

    def run(arguments):
        mean, precision = afa.estimate(**arguments, mask=mask, layout="halves")
        return mean, precision, afa.predict(mean, arguments["sde"], 0.5)

    leaves = torch.utils._pytree.tree_leaves
    for a, b in zip(leaves(run(arguments)), leaves(compiled(torch, run)(arguments)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_compiles_numbers_that_change(torch):
    (x, *_) = tokens(torch.asarray)

    def attend(decay):
        noise = afa.Noise(0.1, 1.0, 1.0)
        sde = afa.IsotropicSDE(decay, torch.ones(2), noise)
        return afa.attention(x, x, x, sde, weighting=afa.Gaussian())

    run = compiled(torch, attend)
    for decay in (0.1, 0.2, 0.3):  # the second one becomes a symbol
        torch.testing.assert_close(run(decay), attend(decay))


def test_compiles_complex_modes(torch):
    sde = model("diagonal", torch.asarray)
    query, key, value = (torch.complex(x[:, :2], x[:, 2:]) for x in tokens(torch.asarray))

    def run(query, key, value):
        return afa.attention(query, key, value, sde)

    expected = run(query, key, value)
    torch.testing.assert_close(compiled(torch, run)(query, key, value), expected)


@forms
def test_vmap(form, torch):
    arguments = arguments_of(form, torch.asarray)
    stacked = torch.utils._pytree.tree_map(lambda x: torch.stack([x, 2.0 * x]), arguments)

    def run(arguments):
        return afa.estimate(**arguments)

    mapped = torch.func.vmap(run)(stacked)
    leaves = torch.utils._pytree.tree_leaves
    for index in range(2):
        one = torch.utils._pytree.tree_map(lambda x: x[index], stacked)  # noqa: B023
        for a, b in zip(leaves(mapped), leaves(run(one)), strict=True):
            torch.testing.assert_close(a[index], b, rtol=1e-12, atol=1e-14)


@forms
def test_meta_device(form, torch):
    """Shapes and dtypes come out without any arithmetic."""
    arguments = arguments_of(form, lambda x: torch.asarray(x, dtype=torch.float32, device="meta"))
    mask = torch.ones((3, 3), dtype=torch.bool, device="meta")
    mean, precision = afa.estimate(**arguments, mask=mask)
    assert mean.device.type == "meta"
    assert mean.shape == (3, 4)
    assert mean.dtype == torch.float32
    for each in torch.utils._pytree.tree_leaves(precision):
        assert each.shape == ((3, 2) if form == "diagonal" else (3,))
    assert afa.predict(mean, arguments["sde"], 1.0).device.type == "meta"
    short = arguments | {name: arguments[name][:0] for name in ("key", "value", "key_times")}
    if form != "radial-tangential":
        assert afa.attention(**short).shape == (3, 4)
