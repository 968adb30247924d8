"""A small setting, the computations of candidates on it, and the command in this process."""

import pytest

from afa_bench.__main__ import main
from afa_bench.baselines.select import available, profiling
from afa_bench.candidates import Task
from afa_bench.cases import CASES
from afa_bench.inputs import transfer
from afa_bench.setting import Setting


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command in this process; return its exit code, output and error text."""
    monkeypatch.setenv("JAX_ENABLE_X64", "1")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def tiny():
    """A setting of a few tokens in double precision."""
    return Setting("numpy", heads=2, tokens=20, modes=3, dtype="float64", decay=(0.01, 0.3))


@pytest.fixture
def task_of(host):
    """Return the task of a setting; skip where its library cannot be used."""

    def build(setting):
        backend = host(setting.library)
        inputs = transfer(CASES[setting.case].inputs(setting), setting, backend)
        return Task(setting, inputs, backend, profiling(setting.library))

    return build


@pytest.fixture
def compute(task_of):
    """Return the output of a candidate on a setting as a NumPy array."""

    def run(setting, name="afa"):
        task = task_of(setting)
        entry = CASES[setting.case] if name == "afa" else available(task.backend, setting)[name]
        assert entry.unsupported(setting) == ""
        found = entry.prepare(task)()
        return task.backend.to_numpy(found[0] if setting.backward else found)

    return run
