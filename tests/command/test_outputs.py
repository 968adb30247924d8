"""Outputs: which are refused before any work, and how tables and pictures are written."""

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from afa_core.command.errors import CommandError
from afa_core.command.output import check_outputs, check_picture, write_picture, write_table

posix = pytest.mark.skipif(os.name != "posix", reason="links and devices of POSIX")

COLUMNS = {
    "t": ["00,5", "1", "2"],
    "z": ["1.5", "", "a;b"],
    "z_mean": np.asarray([1.5, np.nan, 1e-20]),
    "z_outlier": np.asarray([True, False, False]),
}


@pytest.fixture
def refused(tmp_path):
    """Return the message with which outputs are refused; paths are those of a folder."""

    def message(table, picture=None, source="data.csv", *, force=False):
        (tmp_path / "data.csv").touch()
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(CommandError) as caught:
            check(tmp_path, table, picture, source, force=force)
        assert sorted(tmp_path.rglob("*")) == before
        return str(caught.value).replace(f"{tmp_path}{os.sep}", "")

    return message


def check(folder, table, picture=None, source="data.csv", *, force=False):
    (folder / "data.csv").touch()
    table = table if table == "-" else str(folder / table)
    picture = None if picture is None else folder / picture
    check_outputs(table, picture, str(folder / source), force=force)


def test_new_files_and_standard_output(tmp_path):
    check(tmp_path, "a.csv")
    check(tmp_path, "a.csv", "a.png")
    check(tmp_path, "-", "a.png")
    check(tmp_path, "a.png", "b.png")
    assert [each.name for each in tmp_path.iterdir()] == ["data.csv"]


@pytest.mark.parametrize("force", [True, False])
class TestOneFile:
    """Two paths of one file are refused, even if files are to be overwritten."""

    BOTH = "s.png: is the output of both the table and the picture; choose another one."
    INPUT = "is the input; choose another output."

    def test_by_name(self, refused, force):
        assert refused("s.png", "s.png", force=force) == self.BOTH
        assert refused("none/../s.png", "s.png", force=force) == self.BOTH
        assert refused("data.csv", force=force) == f"data.csv: {self.INPUT}"

    @posix
    @pytest.mark.parametrize("exists", [True, False])
    def test_by_symbolic_links(self, refused, tmp_path, force, exists):
        if exists:
            (tmp_path / "s.png").touch()
        (tmp_path / "link.csv").symlink_to("s.png")
        (tmp_path / "folder").symlink_to(tmp_path)
        (tmp_path / "in.png").symlink_to("data.csv")
        assert refused("link.csv", "s.png", force=force) == self.BOTH
        assert refused("folder/s.png", "s.png", force=force) == self.BOTH
        assert refused("a.csv", "in.png", force=force) == f"in.png: {self.INPUT}"
        assert refused("data.csv", source="in.png", force=force) == f"data.csv: {self.INPUT}"

    @posix
    def test_by_hard_links(self, refused, tmp_path, force):
        for name in ("s.png", "data.csv"):
            (tmp_path / name).touch()
        os.link(tmp_path / "s.png", tmp_path / "hard.csv")
        os.link(tmp_path / "data.csv", tmp_path / "in.png")
        assert refused("hard.csv", "s.png", force=force) == self.BOTH
        assert refused("a.csv", "in.png", force=force) == f"in.png: {self.INPUT}"

    def test_as_standard_input(self, tmp_path, monkeypatch, force):
        data = tmp_path / "data.csv"
        data.touch()
        with data.open() as file:
            monkeypatch.setattr("sys.stdin", file)
            with pytest.raises(CommandError, match=self.INPUT):
                check_outputs(str(data), None, "-", force=force)
            check_outputs(str(tmp_path / "a.csv"), None, "-", force=force)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        check_outputs(str(tmp_path / "a.csv"), None, "-", force=force)


def test_existing_files_need_force(refused, tmp_path):
    for name in ("a.csv", "a.png"):
        (tmp_path / name).touch()
    message = "exists already; choose another output or pass --force."
    assert refused("a.csv") == f"a.csv: {message}"
    assert refused("b.csv", "a.png") == f"a.png: {message}"
    check(tmp_path, "a.csv", "a.png", force=True)


@pytest.mark.parametrize("force", [True, False])
def test_folders(refused, tmp_path, force):
    (tmp_path / "a.csv").mkdir()
    assert refused("a.csv", force=force) == "a.csv: is a folder; choose a file in it."
    message = refused("none/a.csv", force=force)
    assert message.startswith("none/a.csv: cannot be written: there is no folder ")


@posix
def test_devices_and_fifos_hold_nothing_to_lose(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    check(tmp_path, "fifo")
    (tmp_path / "null").symlink_to(os.devnull)
    check(tmp_path, "null")


@posix
def test_a_loop_of_links(refused, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert refused("a").startswith("a: cannot be written: Too many levels of symbolic links")


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.png.gz", "a.pgf", "a.csv", ".png"])
def test_pictures_that_matplotlib_cannot_write(refused, name):
    message = refused("a.csv", name)
    assert message.startswith(f"{name}: a picture must end in one of .")
    assert ", .png, " in message
    assert message.endswith(f', got "{Path(name).suffix}".')


@pytest.mark.parametrize("suffix", [".zip", ".xlsx", ".XLS", ".feather"])
def test_tables_of_other_formats(refused, suffix):
    assert refused(f"a{suffix}") == (
        f"a{suffix}: cannot be written in this format; choose one of .parquet, .csv, .csv.gz, "
        ".csv.bz2, .csv.xz."
    )


def test_parquet_without_pyarrow(refused, monkeypatch):
    monkeypatch.setattr("afa_core.command.parquet.find_spec", lambda name: None)
    assert refused("a.parquet") == (
        "a.parquet: is Parquet, which needs pyarrow: pip install pyarrow, or use CSV."
    )


TEXT = 't;z;z_mean;z_outlier\n00,5;1.5;1{0}5;1\n1;;;0\n2;"a;b";1e-20;0\n'


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a", "a.csv.gz", "A.CSV.GZ", "a.bz2", "a.xz"])
def test_tables_are_written_as_their_names_say(tmp_path, name, decimal):
    path = tmp_path / name
    write_table(str(path), COLUMNS, ";", decimal)
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
    content = unpack.get(path.suffix.lower(), bytes)(path.read_bytes())
    assert content.decode() == TEXT.format(decimal)


def test_a_compressed_table_does_not_depend_on_the_time(tmp_path):
    write_table(str(tmp_path / "a.gz"), COLUMNS, ";", ".")
    assert (tmp_path / "a.gz").read_bytes()[4:8] == bytes(4)


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    path = tmp_path / "a.parquet"
    times = np.asarray(["2024-01-01", "2024-01-02"], dtype="datetime64[ns]")
    columns = {"t": times, "z": [1.5, np.nan], "flag": np.asarray([True, False])}
    write_table(str(path), columns, ",", ".")
    found = pd.read_parquet(path)
    assert list(found) == ["t", "z", "flag"]
    np.testing.assert_array_equal(found["t"], times)
    np.testing.assert_array_equal(found["z"], [1.5, np.nan])
    assert found["flag"].tolist() == [True, False]


def test_numbers_are_written_with_every_digit(tmp_path):
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-300, 200, 0.5)
    write_table(str(tmp_path / "a.csv"), {"z": values}, ",", ".")
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "a.csv", skiprows=1), values)


def test_standard_output_is_in_utf8_whatever_the_console(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp437")
    monkeypatch.setattr("sys.stdout", console)
    print("before")
    write_table("-", {"höhe": [1, 2]}, ",", ".")
    assert console.buffer.getvalue() == "before\nhöhe\n1\n2\n".encode()


BEGINNINGS = {
    **{"png": b"\x89PNG", "PNG": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "eps": b"%!PS"},
    **{"svgz": b"\x1f\x8b", "jpg": b"\xff\xd8", "tif": b"II", "webp": b"RIFF"},
}


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_pictures_are_written_as_their_names_say(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    check_picture(path)
    write_picture(path, Figure())
    assert path.read_bytes().startswith(BEGINNINGS[suffix])
    assert list(tmp_path.iterdir()) == [path]


def test_every_format_that_is_allowed_can_be_written(tmp_path):
    for suffix in Figure().canvas.get_supported_filetypes():
        path = tmp_path / f"a.{suffix}"
        try:
            check_picture(path)
        except CommandError:
            assert suffix == "pgf"
        else:
            write_picture(path, Figure(figsize=(1, 1)))
            assert path.stat().st_size > 0


@posix
def test_devices_are_written_to(tmp_path):
    fifo, found = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: found.append(fifo.read_text()))
    reader.start()
    write_table(str(fifo), COLUMNS, ";", ".")
    reader.join()
    assert found == [TEXT.format(".")]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    write_table(os.devnull, COLUMNS, ";", ".")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@posix
def test_files_keep_their_links_and_modes(tmp_path):
    target, link = tmp_path / "a.csv", tmp_path / "link.csv"
    target.touch(0o600)
    link.symlink_to(target)
    write_table(str(link), COLUMNS, ";", ".")
    assert link.is_symlink()
    assert target.read_text() == TEXT.format(".")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_device():
    with pytest.raises(CommandError, match=r"^/dev/full: cannot be written: No space left"):
        write_table("/dev/full", COLUMNS, ";", ".")
