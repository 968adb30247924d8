"""Conversion of a rotary layer of plain PyTorch to a layer of the same output, and training it."""

import pytest

from afa_core.layer import from_rotary

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")

FEATURES, HEADS, PAIRS, TOKENS = 24, 2, 5, 17
NAMES = ("query", "key", "value", "output")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}


class Rotary(torch.nn.Module):
    """Dot-product attention whose queries and keys rotate by θ per token."""

    def __init__(self, *, bias, layout, dtype):
        super().__init__()
        width = HEADS * 2 * PAIRS
        for name in NAMES:
            sizes = (width, FEATURES) if name == "output" else (FEATURES, width)
            setattr(self, name, torch.nn.Linear(*sizes, bias=bias, dtype=dtype))
        self.layout, self.dtype = layout, dtype
        self.frequency = 100.0 ** (-torch.arange(PAIRS, dtype=torch.float64) / PAIRS)

    def heads(self, name, x):
        return getattr(self, name)(x).unflatten(-1, (HEADS, -1)).transpose(-2, -3)

    def rotated(self, x):
        angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * self.frequency
        cos, sin = angle.cos().to(self.dtype), angle.sin().to(self.dtype)
        if self.layout == "halves":
            real, imag = x.chunk(2, dim=-1)
            return torch.cat([real * cos - imag * sin, real * sin + imag * cos], dim=-1)
        real, imag = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([real * cos - imag * sin, real * sin + imag * cos], dim=-1).flatten(-2)

    def forward(self, x, *, causal=True, normalise=lambda x: x):
        query, key = (normalise(self.heads(name, x)) for name in ("query", "key"))
        found = torch.nn.functional.scaled_dot_product_attention(
            self.rotated(query), self.rotated(key), self.heads("value", x), is_causal=causal
        )
        return self.output(found.transpose(-2, -3).flatten(-2))

    def weights(self):
        return {
            f"{name}_{kind}": x
            for name in NAMES
            for kind, x in getattr(self, name).named_parameters()
        }


def pair_of(*, bias=True, layout="interleaved", dtype=torch.float64, **options):
    torch.manual_seed(0)
    rotary = Rotary(bias=bias, layout=layout, dtype=dtype)
    x = torch.randn(3, TOKENS, FEATURES, dtype=dtype)
    if "settings" not in options:
        longest = rotary.heads("key", x).detach().norm(dim=-1).max()
        options = {"radius": 1.5 * float(longest), **options}
    converted = from_rotary(
        rotary.weights(), heads=HEADS, frequency=rotary.frequency, layout=layout, **options
    )
    return rotary, layers.AdaptiveFilterAttention.from_layer(converted), x


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", ["interleaved", "halves"])
@pytest.mark.parametrize("causal", [True, False])
def test_same_output(dtype, bias, layout, causal):
    rotary, layer, x = pair_of(bias=bias, layout=layout, dtype=dtype)
    found, _ = layer(x, causal=causal)
    assert found.dtype == dtype
    expected = rotary(x, causal=causal)
    assert (found - expected).abs().max() < TOLERANCE[dtype] * expected.abs().max()


def normalised(x):
    """Normalise to unit root mean square |z| with the ε of the layer; |z|² has two channels."""
    return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=0.5e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ["interleaved", "halves"])
@pytest.mark.parametrize("radius", [None, 4.0])
def test_same_output_where_queries_and_keys_are_normalised(dtype, layout, radius):
    options = {"settings": {"normalised": ("query", "key")}, "radius": radius}
    rotary, layer, x = pair_of(layout=layout, dtype=dtype, **options)
    expected = rotary(x, normalise=normalised)
    # the ε in the mean square leaves keys of slightly different lengths without a radius
    tolerance = TOLERANCE[dtype if radius else torch.float32]
    assert (layer(x)[0] - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dynamics_beside_half_precision_weights_are_single(dtype):
    """Half precision has no 10⁻¹², from which training starts, and few digits of a frequency."""
    rotary, layer, _ = pair_of(dtype=dtype)
    sde = layer.layer.sde
    assert min(sde.decay.min(), sde.noise.process.min()) > 0.0
    assert torch.equal(-sde.frequency[0, :PAIRS], rotary.frequency.float())


def test_training_leaves_the_limit():
    rotary, layer, x = pair_of(settings={"sphere": True, "fixed": ()}, radius=4.0)
    target = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    (layer(x)[0] - target).square().mean().backward()
    for name, parameter in layer.named_parameters():
        # the output does not depend on the common length of keys in this limit
        if name.startswith("raw_") and name != "raw_radius":
            assert parameter.grad.abs().min() > 1e-8, name
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = (layer(x)[0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    sde = layer.layer.sde
    assert min(sde.decay.min(), sde.noise.process.min()) > 1e-6
    assert (layer(x)[0] - rotary(x)).abs().max() > 1e-3


def test_the_rotary_layer_is_not_changed():
    rotary, layer, x = pair_of()
    before = rotary(x)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert torch.equal(rotary(x), before)


def test_keys_must_have_one_length():
    rotary, _, _ = pair_of()
    with pytest.raises(ValueError, match="`radius` must be given unless keys are normalised"):
        from_rotary(rotary.weights(), heads=HEADS, frequency=rotary.frequency, layout="interleaved")


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("name", ["query", "key", "value", "output"])
def test_a_projection_that_is_missing_or_misnamed(name, part):
    """No projection of the rotary layer is replaced by zeros, and none is left out."""
    rotary, _, _ = pair_of()
    options = {"frequency": rotary.frequency, "layout": "interleaved", "radius": 6.0}
    weights = rotary.weights()
    moved = weights.pop(f"{name}_{part}")
    with pytest.raises(ValueError, match=rf"`weights` must have `{name}_{part}`, got "):
        from_rotary(weights, heads=HEADS, **options)
    weights = rotary.weights() | {f"{name}s_{part}": moved}
    with pytest.raises(ValueError, match=rf"must be parameters of the layer, got .*{name}s_{part}"):
        from_rotary(weights, heads=HEADS, **options)
