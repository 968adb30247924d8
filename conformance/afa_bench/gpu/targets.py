"""Targets on a GPU: against the rate of matrix products, and against fused attention."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from afa_bench.bounds import Target, speedup, times
from afa_bench.gpu.jobs import CORRELATED, RATIONAL, TORCH
from afa_bench.gpu.peak import share
from afa_bench.measure import Job
from afa_bench.results import NotMeasured, Run
from afa_bench.setting import Setting
from afa_bench.units import percent

FLASH = "sdpa-flash"
PASSES = (False, True)


def targets() -> Iterator[Target]:
    """Yield all of them."""
    for setting in (TORCH, TORCH._replace(tokens=65536), RATIONAL):
        yield _share(setting, 0.6)
        yield _over(setting, FLASH, 0.8)
    for tokens in (16384, 65536):
        yield _over(TORCH._replace(tokens=tokens, backward=True), FLASH, 0.7)
    yield _over(RATIONAL._replace(backward=True), FLASH, 0.7)
    for (tokens, bound), backward in product(((16384, 2.0), (65536, 5.0)), PASSES):
        yield _over(CORRELATED._replace(tokens=tokens, backward=backward), FLASH, bound)
    for backward in PASSES:
        yield _over(TORCH._replace(backward=backward), "flex", 1.5)


def _over(setting: Setting, baseline: str, bound: float) -> Target:
    """Bound the speed over that of a baseline from below."""
    what = f"{setting.describe()}: speed over {baseline}"
    return speedup(what, setting, baseline, bound)._replace(text=times)


def _share(setting: Setting, bound: float) -> Target:
    """Bound the rate over that of a matrix product from below."""

    def measured(run: Run) -> float:
        run.time(setting)
        found = share(run.record(setting), run.report["machine"].get("peaks", {}))
        if found is None:
            raise NotMeasured("the rate of matrix products is not part of this run")
        return found

    what = f"{setting.describe()}: rate over that of a product of matrices"
    return Target(what, "≥", bound, percent, (Job(setting),), measured)


TARGETS = tuple(targets())
