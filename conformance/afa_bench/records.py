"""The JSON format of reports and records."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Measurement(TypedDict, total=False):
    """What was measured of a candidate.

    ``seconds`` per call in each round, ``bytes`` of peak extra memory and the ``method`` that
    measured them, or the ``reason`` why there is neither.
    """

    seconds: list[float]
    bytes: int
    method: str
    reason: str


class Record(TypedDict):
    """What was measured of a setting.

    ``setting`` holds the fields of `afa_bench.setting.Setting`; ``candidates`` the measurements
    by name; ``chosen`` the implementation that ran; ``errors`` those relative to double
    precision by the name of the result, None where it is not finite, or the ``reason`` why there
    are none.
    """

    setting: dict[str, Any]
    candidates: dict[str, Measurement]
    chosen: NotRequired[str]
    errors: NotRequired[dict[str, float | None]]
    reason: NotRequired[str]


class Answer(TypedDict, total=False):
    """What a worker measured of a setting: part of a `Record`."""

    candidates: dict[str, Measurement]
    chosen: str
    errors: dict[str, float | None]
    reason: str


class Machine(TypedDict):
    """A description of the machine.

    ``threads`` is the value of OMP_NUM_THREADS, ``load_before`` the load average of the minute
    before the run (the greatest of several runs), ``versions`` those of the libraries, ``device``
    the name of the GPU, if any; ``peaks`` the operations per second of a product of large matrices
    on it, by dtype.
    """

    processor: str
    architecture: str
    cores: int
    memory_gib: int | None
    system: str
    python: str
    threads: str
    load_before: float | None
    versions: dict[str, str]
    device: str
    peaks: NotRequired[dict[str, float]]


class Report(TypedDict):
    """A run of the suite, and those that have replaced some of its records since.

    ``busy`` is the number of processes that kept the machine busy, if any.
    """

    version: str
    quick: bool
    busy: NotRequired[int]
    machine: Machine
    records: list[Record]


class CrossoverReport(TypedDict):
    """A run of `afa_bench.crossover`: where tiles are faster than the reference, and all times.

    Each of the `crossings` has a setting without its number of tokens, and by the name of an
    implementation the length from which on it is as fast as the reference, or None.
    """

    version: str
    machine: Machine
    crossings: list[dict[str, Any]]
    points: list[Record]
