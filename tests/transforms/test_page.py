"""The table of transforms in the documentation is true of every function and library."""

from pathlib import Path

import numpy as np
import pytest

import afa_core as afa

from .table import FUNCTIONS, OUTSIDE, TITLES, in_jax, in_torch, refusal

PAGE = Path(__file__).parents[2] / "docs" / "transforms.md"


def cells_of(name):
    """The cells of a function in the page, by transform."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").splitlines()]
    header = next(line for line in lines if line[0] == "function")
    row = next(line for line in lines if line[0] == name)
    return dict(zip(header[1:], row[1:], strict=True))


@pytest.mark.parametrize("library", TITLES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_transforms_work_where_the_page_says_so(name, library, host):
    backend = host(library)
    if library == "jax":
        transforms = in_jax(pytest.importorskip("jax"))
    else:
        transforms = in_torch(pytest.importorskip("torch"))
    cells = cells_of(name)
    assert set(cells) == set(transforms)
    x = backend.from_numpy(np.random.default_rng(0).standard_normal((3, 2)))
    for transform, apply in transforms.items():
        error = refusal(apply, FUNCTIONS[name], x)
        assert (error is None) == (cells[transform] in ("both", TITLES[library])), (
            transform,
            error,
        )
        tiled = name in ("`attention`, `estimate` of many tokens", "`windowed_attention`")
        assert error is None or not tiled or "'reference'" in str(error)


def test_every_public_function_is_on_the_page():
    kalman = {f"kalman.{name}" for name in afa.kalman.__all__}
    public = {name for name in {*afa.__all__, *kalman} if name.split(".")[-1].islower()}
    listed = {part for name in FUNCTIONS for part in name.split("`")[1::2]} - {"Uniform"}
    page = PAGE.read_text("utf-8")
    assert public - {"kalman"} - set(OUTSIDE) <= listed
    assert all(f"`{name}`" in page for name in OUTSIDE)
