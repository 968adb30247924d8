"""The README says what is so: its code runs and prints what it says, its commands are CI's."""

import re
from pathlib import Path

import pytest

from afa_core.backend import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
LIBRARIES = ["numpy", "torch", "jax", "cupy"]
CODE = list(zip(LIBRARIES, BLOCKS, strict=True))


@pytest.mark.parametrize(("library", "code"), CODE, ids=LIBRARIES)
def test_code(library, code, capsys):
    assert f"import {library}" in code
    if library == "cupy" and load("cupy").unavailable:
        code = code.replace("cupy", "numpy")  # which has the same functions, but no GPU
    names = {}
    exec(compile(code, f"README.md ({library})", "exec"), names)
    (expected,) = re.findall(r"print\(.*\)  # (.*)", code)
    assert capsys.readouterr().out.strip() == expected
    if library == "torch":  # compiled to machine code, both ways
        check_gradient_of_eager_mode(**names)


def check_gradient_of_eager_mode(torch, afa, query, key, value, decay, sde, **_):
    loss = afa.attention(query, key, value, sde).square().mean()
    (expected,) = torch.autograd.grad(loss, decay)
    torch.testing.assert_close(decay.grad, expected, rtol=1e-4, atol=0.0)


def test_the_test_command_is_what_ci_runs():
    (command,) = re.findall(r"^python -m pip install .*nox$", README, flags=re.MULTILINE)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README))))
def test_links(target):
    assert (ROOT / target).exists()
