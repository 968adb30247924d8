"""Files are written whole: through links, with the modes that they should have, never a device."""

import errno
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

import afa_numpy
from afa_core.layer import Layer, Settings, initial
from afa_core.layer.atomic import write_whole

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, modes and devices of POSIX")

OLD, NEW = "old", "new"


def by_hand(path):
    """Write some text."""
    write_whole(path, lambda partial: partial.write_text(NEW))


def numpy_layer(path):
    """Save a layer of NumPy."""
    pytest.importorskip("safetensors")
    settings = Settings(features=8, heads=2, modes=4, value_modes=4)
    parameters = {name: np.ones(each.shape) for name, each in initial(settings).items()}
    afa_numpy.save(path, {"": Layer(settings, parameters)})


def torch_layer(path):
    """Save a layer of PyTorch."""
    pytest.importorskip("safetensors")
    pytest.importorskip("torch")
    import afa_torch

    afa_torch.save(path, afa_torch.AdaptiveFilterAttention(8, 2))


@pytest.fixture(params=[by_hand, numpy_layer, torch_layer])
def save(request):
    """Every way of writing a file whole."""
    return request.param


@pytest.fixture
def umask():
    """Set the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_that_the_umask_leaves(save, tmp_path, umask, mask, mode):
    umask(mask)
    save(tmp_path / "file.bin")
    assert mode_of(tmp_path / "file.bin") == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o444])
def test_a_replaced_file_keeps_its_mode(save, tmp_path, mode):
    path = tmp_path / "file.bin"
    path.write_text(OLD)
    path.chmod(mode)
    save(path)
    assert path.read_bytes() != OLD.encode()
    assert mode_of(path) == mode


def test_a_private_file_is_private_while_it_is_written(tmp_path, umask):
    path, modes = tmp_path / "file.txt", []
    path.write_text(OLD)
    path.chmod(0o600)
    umask(0)

    def write(partial):
        modes.append((mode_of(partial), partial.suffix))
        partial.write_text(NEW)

    write_whole(path, write)
    assert modes == [(0o600, ".txt")]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("links", [1, 2])
def test_a_symbolic_link_is_written_through(save, tmp_path, exists, links):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target = folder / "file.bin"
    if exists:
        target.write_text(OLD)
    path = Path("elsewhere/file.bin")  # relative to the folder of the link
    for index in range(links):
        link = tmp_path / f"link{index}.bin"
        link.symlink_to(path)
        path = Path(link.name)
    save(link)
    assert link.is_symlink()
    assert target.stat().st_size > 0
    assert target.read_bytes() != OLD.encode()
    assert [each.name for each in folder.iterdir()] == ["file.bin"]


def test_a_failure_behind_a_link_keeps_the_old_file(tmp_path):
    target, link = tmp_path / "file.txt", tmp_path / "link.txt"
    target.write_text(OLD)
    link.symlink_to(target.name)

    def write(partial):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space left"):
        write_whole(link, write)
    assert (target.read_text(), link.is_symlink()) == (OLD, True)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_loop_of_links(save, tmp_path):
    first, second = tmp_path / "a.bin", tmp_path / "b.bin"
    first.symlink_to(second)
    second.symlink_to(first)
    with pytest.raises(OSError, match="symbolic link"):
        save(first)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder(save, tmp_path):
    with pytest.raises(IsADirectoryError):
        save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("linked", [True, False])
def test_a_fifo_is_refused_and_stays_one(save, tmp_path, linked):
    fifo = path = tmp_path / "fifo.bin"
    os.mkfifo(fifo)
    if linked:
        path = tmp_path / "link.bin"
        path.symlink_to(fifo)
    with pytest.raises(OSError, match=r"Is a device, FIFO or socket, .* choose a regular file"):
        save(path)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert path.is_symlink() == linked


def test_a_device_is_refused_and_stays_one(save):
    null = Path(os.devnull)
    with pytest.raises(OSError, match="Is a device"):
        save(null)
    assert stat.S_ISCHR(null.stat().st_mode)


def test_devices_are_written_to_where_they_may_be(tmp_path):
    fifo, found = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: found.append(fifo.read_text()))
    reader.start()
    write_whole(fifo, lambda path: path.write_text(NEW), devices=True)
    reader.join()
    assert (found, stat.S_ISFIFO(fifo.stat().st_mode)) == ([NEW], True)
    null = Path(os.devnull)
    write_whole(null, lambda path: path.write_text(NEW), devices=True)
    assert stat.S_ISCHR(null.stat().st_mode)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, pytest.fail, devices=True)
