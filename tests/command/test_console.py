"""Consoles: characters that they do not have, broken pipes, interruption, messages of one line."""

import os
import signal
import subprocess
import sys

import pytest

from afa_core.__main__ import main
from afa_core.command.errors import CommandError

COMMAND = [sys.executable, "-m", "afa_core"]
# a shell in the background ignores interruptions, and what it starts would, too
HEEDING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
INTERRUPTIBLE = [sys.executable, "-c", HEEDING, *COMMAND[1:]]
posix = pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")


def start(*arguments, encoding="utf-8", command=COMMAND, **options):
    """Start a command in a process of its own, on a console of some encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )


@pytest.mark.parametrize("encoding", ["cp437", "cp1252", "ascii", "utf-8"])
def test_characters_that_a_console_does_not_have_are_replaced(encoding, tmp_path):
    process = start("filter", "--help", encoding=encoding)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    mu, eta = ("μ".encode(encoding, "replace"), "σ²".encode(encoding, "replace"))
    assert mu + b", 1/time" in out
    assert eta in out
    process = start("filter", tmp_path / "Ω.csv", "--time", "→", "--value", "z", encoding=encoding)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.count(b"\n") == 1
    assert "Ω.csv: cannot be read".encode(encoding, "replace") in err


@posix
@pytest.mark.parametrize("arguments", [("backends",), ("filter", "--help"), ("--version",)])
def test_a_broken_pipe_ends_quietly(arguments):
    read, write = os.pipe()
    os.close(read)
    process = start(*arguments, stdout=write)
    os.close(write)
    assert process.communicate() == (None, b"")
    assert process.returncode == 141


@posix
def test_a_reader_that_reads_one_line():
    process = start("backends")
    assert process.stdout.readline().startswith(b"library")
    process.stdout.close()
    with process.stderr as err:
        assert err.read() == b""
    assert process.wait() in (0, 141)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_standard_output():
    with open("/dev/full", "wb") as full:
        process = start("backends", stdout=full)
        _, err = process.communicate()
    assert process.returncode == 2
    assert err == b"afa_core: standard output: cannot be written: No space left on device.\n"


@posix
def test_interruption_ends_quietly(tmp_path):
    fifo = tmp_path / "data.csv"
    os.mkfifo(fifo)
    process = start("filter", fifo, "--time", "t", "--value", "z", command=INTERRUPTIBLE)
    with fifo.open("wb"):  # waits until the command reads
        process.send_signal(signal.SIGINT)
        assert process.communicate() == (b"", b"")
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == [fifo]


@pytest.fixture
def failing(monkeypatch):
    """Make a command raise an error."""

    def fail(error):
        def run(options):
            raise error

        monkeypatch.setattr("afa_core.command.parser.list_backends", run)
        return "backends"

    return fail


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("two\nlines", r"two\nlines"),
        ("a\rb\tc\x1b[31m\x00", r"a\rb\tc\x1b[31m\x00"),
        ("μ – … \\n", "μ – … \\n"),
        ("\u2028", r"\u2028"),
    ],
)
def test_a_message_is_one_line_without_control_characters(run, failing, message, line):
    assert run(failing(CommandError(message))) == (2, "", f"afa_core: {line}\n")


@pytest.mark.parametrize("name", ["matplotlib", "numpy", "pandas", "scipy", "tqdm"])
def test_a_library_that_is_not_installed(run, failing, name):
    error = ModuleNotFoundError(f"No module named {name!r}", name=name)
    message = f"afa_core: needs {name}, which is not installed: pip install 'afa-core[cli]'.\n"
    assert run(failing(error)) == (2, "", message)


def test_other_errors_are_not_hidden(failing):
    for error in (ModuleNotFoundError(name="afa_core.x"), OSError(5, "bad", "file"), ValueError()):
        with pytest.raises(type(error)):
            main([failing(error)])


def test_the_version(run):
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert out.startswith("afa-core ")
