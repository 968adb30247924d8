"""Attention of the reference for all tests, unless they choose another implementation."""

import pytest


@pytest.fixture(autouse=True)
def registered():
    """Register attention with the defaults of this library, whatever a test before it chose."""
    pytest.importorskip("transformers")
    adaptive = pytest.importorskip("afa_torch.transformers")
    adaptive.register(implementation="reference")
