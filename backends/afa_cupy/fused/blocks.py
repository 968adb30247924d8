"""Numbers of queries and keys in the tiles of the kernel, by what fits into shared memory."""

from __future__ import annotations

from typing import NamedTuple

LANES, GROUPS = 16, 8
"""Threads that share the rows of a tile, and groups of such threads."""
THREADS = LANES * GROUPS
MAX_SUMS = 64
"""Registers of a thread for its sums of values."""
RESERVED = 1024
"""Bytes of shared memory that a device takes for every block."""


class Tokens(NamedTuple):
    """What the memory of a block depends on."""

    width: int  # 2d
    value_width: int  # 2d_v
    itemsize: int  # of a number, in bytes
    directions: int  # in which correlated keys have influence

    @property
    def padded(self) -> int:
        """Channels of queries and keys that a tile has room for."""
        return -(-self.width // 16) * 16

    @property
    def value_padded(self) -> int:
        """Channels of values, four of which a thread sums at a time."""
        return -(-self.value_width // (4 * LANES)) * 4 * LANES


class Memory(NamedTuple):
    """Shared memory of a device, in bytes."""

    block: int  # the most that a block may have
    multiprocessor: int


class Blocks(NamedTuple):
    """Queries and keys of a tile that one thread evaluates."""

    rows: int
    columns: int

    @property
    def queries(self) -> int:
        """Queries in a tile."""
        return self.rows * GROUPS

    @property
    def keys(self) -> int:
        """Keys in a tile."""
        return self.columns * LANES

    def shared_bytes(self, tokens: Tokens) -> int:
        """Return the size of `Shared` in ``arguments.cuh``, padding included."""
        queries, keys, sides = self.queries, self.keys, max(tokens.directions, 1)
        padded, values = tokens.padded, tokens.value_padded
        numbers = queries * (padded + 4) + keys * (max(padded, values) + 4) + queries * (keys + 4)
        numbers += 5 * queries + 4 * keys
        doubles = (queries + keys) * (1 + sides) + GROUPS
        return numbers * tokens.itemsize + doubles * 8 + 16

    def sums(self, tokens: Tokens) -> int:
        """Return the registers of a thread's sums of values."""
        return self.rows * (tokens.value_padded // LANES) * (tokens.itemsize // 4)


CANDIDATES = (Blocks(8, 4), Blocks(4, 4), Blocks(4, 2), Blocks(2, 2), Blocks(2, 1), Blocks(1, 1))
"""The largest first."""


def choose_blocks(tokens: Tokens, memory: Memory, most: int) -> Blocks | None:
    """Return the largest blocks of at most so many queries, two of which run at once if possible.

    None if no block fits into shared memory.
    """
    found = [each for each in CANDIDATES if each.sums(tokens) <= MAX_SUMS or each == CANDIDATES[-1]]
    found = [each for each in found if each.shared_bytes(tokens) <= memory.block]
    small = [each for each in found if each.queries <= most and each.keys <= 2 * most]
    found = small or found[-1:]
    half = memory.multiprocessor // 2 - RESERVED
    both = [each for each in found if each.shared_bytes(tokens) <= half]
    return next(iter(both or found), None)
