"""The code of the guides runs and has the output printed beside it; their links have targets."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
REQUIREMENTS = {
    "index": ["numpy"],
    "guides/correlated": ["numpy"],
    "guides/instead": ["torch", "safetensors"],
    "guides/pytorch": ["torch", "safetensors"],
    "guides/transformers": ["torch", "transformers", "accelerate", "peft"],
    "guides/multihead": ["torch"],
    "guides/training": ["torch", "matplotlib"],
    "guides/jax": ["jax", "equinox", "flax", "optax", "safetensors"],
    "guides/numpy": ["numpy", "safetensors"],
    "guides/interchange": ["torch", "jax", "safetensors", "ndonnx", "onnxscript", "flatbuffers"],
    "guides/cpu": ["numba", "scipy", "threadpoolctl"],
    "guides/gpu": ["torch"],
    "guides/series": ["scipy", "pandas"],
}
PAGES = sorted(DOCS.glob("guides/*.md"))


def expected_output(code):
    """Return the output in the comments of `print`: at the end of the line, or on the next."""
    return re.findall(r"print\(.*\)\s*# (.*)", code)


@pytest.mark.parametrize("page", sorted(REQUIREMENTS))
def test_code(page, tmp_path, monkeypatch):
    for each in REQUIREMENTS[page]:
        pytest.importorskip(each)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    names, printed, expected = {}, io.StringIO(), []
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page}.md", "exec"), names)
        expected += expected_output(code)
    assert expected
    assert printed.getvalue().splitlines() == expected
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == set(re.findall(r'savefig\("(.*?)"', text))
    assert all(f"../figures/{name}" in text for name in drawn)


def test_every_page_with_code_is_run():
    pages = {f"{path.parent.name}/{path.stem}" for path in PAGES} - {"guides/filtering"}
    assert {"index", *pages} == set(REQUIREMENTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links(page):
    text = page.read_text(encoding="utf-8")
    for target in set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)):
        assert (page.parent / os.path.normpath(target)).exists(), target


def test_numbered_equations_break_lines_by_cr():
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for equation in re.findall(r"^\$\$\n(.*?)^\$\$$", text, re.MULTILINE | re.DOTALL):
            # Sphinx puts one with two backslashes into `split`, where MathJax refuses the number.
            assert not (r"\tag" in equation and r"\\" in equation), equation


def links(page):
    """Return the pages that the text of a page links to, but for those that Sphinx makes."""
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#: ]+\.md)", text) + re.findall(r":link: (.*)", text)
    found = ((page.parent / target).with_suffix(".md") for target in targets)
    return {path.resolve() for path in found if path.exists()}


@pytest.mark.parametrize(
    ("page", "answer"),
    [
        ("guides/series.md", "python -m afa_core filter DATA.csv"),
        ("guides/transformers.md", "model = convert("),
        ("testing.md", "--afa-implementation"),
        ("capabilities.md", "| correlated keys | float64, float32 |"),
        ("glossary.md", "`measurement` of `Noise`"),
    ],
)
def test_three_links_lead_to_an_answer(page, answer):
    assert answer in (DOCS / page).read_text(encoding="utf-8")
    reached = {(DOCS / "index.md").resolve()}
    for _ in range(3):
        reached |= {target for page in reached for target in links(page)}
    assert (DOCS / page).resolve() in reached
