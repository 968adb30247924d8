"""A way to run the benchmarks' command as a user would."""

import pytest

from afa_bench.__main__ import main


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command in this process; return its exit code, output and error text."""
    monkeypatch.setenv("JAX_ENABLE_X64", "1")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
