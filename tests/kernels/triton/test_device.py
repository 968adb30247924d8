"""Kernels are launched on the device of their operands, whichever is the current one."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
engine = pytest.importorskip("afa_torch.triton.engine")


@pytest.mark.parametrize(("kind", "entered"), [("cuda", ["cuda:1"]), ("cpu", [])])
def test_launches_enter_the_device(kind, entered, monkeypatch):
    current, during = [], []

    @contextmanager
    def guard(device):
        current.append(str(device))
        yield
        current.pop()

    def launch(*arguments):
        during.append(list(current))
        return results

    class Results(tuple):
        limits = torch.tensor([[[0, 1]]])

    results = Results([0, 0, 0, 0, 0])
    launches = SimpleNamespace(forward=launch, backward=launch)
    monkeypatch.setattr(engine, "_launches", lambda static: launches)
    monkeypatch.setattr(torch.cuda, "device", guard)
    device = torch.device(f"{kind}:{1 if kind == 'cuda' else 0}")
    operands = SimpleNamespace(query=SimpleNamespace(device=device))
    static = SimpleNamespace(visibility=SimpleNamespace(queries=1, keys=1, causal=False))
    sizes = SimpleNamespace(queries=128)
    engine.forward(operands, static, sizes)
    engine.backward(operands, static, sizes, [0] * 6)
    engine.count_pairs(operands, static, sizes, xp=None)
    assert during == [entered] * 3
    assert not current
