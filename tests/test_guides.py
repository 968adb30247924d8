"""The guides run as they are printed, and print what they say; their commands are possible."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
NEEDS = {
    "instead": ["torch", "safetensors"],
    "pytorch": ["torch", "safetensors"],
    "jax": ["jax", "equinox", "flax", "optax", "safetensors"],
    "numpy": ["numpy", "safetensors"],
    "interchange": ["numpy", "torch", "jax", "safetensors"],
}


def said(code):
    """Return the lines that the code says it prints: at its end, or on the line below."""
    return re.findall(r"print\(.*\)\s*# (.*)", code)


@pytest.mark.parametrize("guide", sorted(NEEDS))
def test_code(guide, tmp_path, monkeypatch):
    for each in NEEDS[guide]:
        pytest.importorskip(each)
    monkeypatch.chdir(tmp_path)
    text = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
    names, printed, expected = {}, io.StringIO(), []
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{guide}.md", "exec"), names)
        expected += said(code)
    assert expected
    assert printed.getvalue().splitlines() == expected


def test_every_guide_is_run():
    told = {path.stem for path in GUIDES.glob("*.md")} - {"filtering"}
    assert told == set(NEEDS)


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_links(guide):
    text = guide.read_text(encoding="utf-8")
    for target in set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)):
        assert (guide.parent / os.path.normpath(target)).exists(), target
