"""The code of the guides runs and has the output printed beside it; their links have targets."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
REQUIREMENTS = {
    "correlated": ["numpy"],
    "instead": ["torch", "safetensors"],
    "pytorch": ["torch", "safetensors"],
    "jax": ["jax", "equinox", "flax", "optax", "safetensors"],
    "numpy": ["numpy", "safetensors"],
    "interchange": ["numpy", "torch", "jax", "safetensors"],
}


def expected_output(code):
    """Return the output in the comments of `print`: at the end of the line, or on the next."""
    return re.findall(r"print\(.*\)\s*# (.*)", code)


@pytest.mark.parametrize("guide", sorted(REQUIREMENTS))
def test_code(guide, tmp_path, monkeypatch):
    for each in REQUIREMENTS[guide]:
        pytest.importorskip(each)
    monkeypatch.chdir(tmp_path)
    text = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
    names, printed, expected = {}, io.StringIO(), []
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{guide}.md", "exec"), names)
        expected += expected_output(code)
    assert expected
    assert printed.getvalue().splitlines() == expected


def test_every_guide_with_code_is_run():
    guides = {path.stem for path in GUIDES.glob("*.md")} - {"filtering"}
    assert guides == set(REQUIREMENTS)


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_links(guide):
    text = guide.read_text(encoding="utf-8")
    for target in set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)):
        assert (guide.parent / os.path.normpath(target)).exists(), target
