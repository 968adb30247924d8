"""Layers for PyTorch whose parameters are off their initial values, and tokens for them."""

import pytest

torch = pytest.importorskip("torch")
layers = pytest.importorskip("afa_torch.layer")

FORMS = ("isotropic", "diagonal", "radial_tangential")


def make(form="isotropic", *, seed=0, embed_dim=8, dtype=torch.float64, **settings):
    """Return a layer of two heads with parameters off their initial values."""
    torch.manual_seed(seed)
    layer = layers.AdaptiveFilterAttention(embed_dim, 2, form=form, dtype=dtype, **settings)
    with torch.no_grad():
        for x in layer.layer.parameters.values():
            x += 0.2 * torch.rand_like(x)
    return layer


def draw(*shape, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
