"""The text of the language experiment: the source of Python's standard library, in bytes."""

import random
import sysconfig
from pathlib import Path

import torch

LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "encodings"}
"""Encodings are copies of a template, which must not be on both sides of a split."""


def texts():
    """Return the bytes to train on, to choose learning rates on and to test on, of other files."""
    found = Path(sysconfig.get_path("stdlib")).glob("**/*.py")
    files = sorted(x for x in found if not LEFT_OUT & {*x.parts})
    random.Random(0).shuffle(files)
    tenth = len(files) // 10
    split = files[2 * tenth :], files[tenth : 2 * tenth], files[:tenth]
    parts = (b"".join(x.read_bytes() for x in part) for part in split)
    return [torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in parts]


def cut(text, starts, size):
    """Return pieces of a text, (starts, size)."""
    return torch.stack([text[start : start + size] for start in starts]).long()


def draw(text, seed, step, *, batch, size):
    """Return the pieces of a step of training, (batch, size)."""
    drawn = torch.Generator().manual_seed(1_000_003 * seed + step)
    return cut(text, torch.randint(len(text) - size + 1, (batch,), generator=drawn), size)
