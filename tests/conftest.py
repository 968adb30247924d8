"""The array libraries that the core is tested on, imported by the first test that uses each."""

from collections.abc import Callable
from typing import Any

import pytest

from afa_core.backend import Backend, load

LIBRARIES = ("numpy", "torch", "jax", "array_api_strict")


@pytest.fixture(scope="session")
def host() -> Callable[[str], Backend]:
    """Load an array library by name, JAX in double precision; skip where it cannot be used."""

    def load_usable(name: str) -> Backend:
        if name == "array_api_strict":
            pytest.importorskip(name)
        backend = load(name)
        if backend.unavailable:
            pytest.skip(f"{name}: {backend.unavailable}")
        if name == "jax":
            import jax

            jax.config.update("jax_enable_x64", True)
        return backend

    return load_usable


@pytest.fixture(params=LIBRARIES)
def library(request, host) -> Backend:
    """Every array library in turn."""
    return host(request.param)


@pytest.fixture
def call(library) -> Callable[..., Any]:
    """Call a function; JAX compiles it in one piece, far sooner than operation by operation."""

    def run(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if library.name == "jax":
            return library.compile(lambda: function(*arguments, **options))()
        return function(*arguments, **options)

    return run


@pytest.fixture
def torch(host):
    """PyTorch, its compiler as in a fresh process."""
    host("torch")
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    return torch
