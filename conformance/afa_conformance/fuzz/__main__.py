"""Call public functions at random: ``python -m afa_conformance.fuzz --calls N --seed S``.

Every call follows from the seed and its number. A call whose results differ from the expected ones,
or that raises an exception, is printed with the options that repeat it.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from afa_conformance.fuzz.calls import LIBRARIES, Call, draw_call
from afa_conformance.fuzz.functions import check


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m afa_conformance.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--calls", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one call, with its traceback")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="where to begin")
    parser.add_argument("--libraries", nargs="+", choices=[*LIBRARIES], default=["numpy", "torch"])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the calls, print those that fail and counts, and return 1 if one failed."""
    options = parse(arguments)
    numbers = range(options.first, options.first + options.calls)
    if options.only is not None:
        numbers = range(options.only, options.only + 1)
    counts: Counter[tuple[str, str]] = Counter()
    failed = skipped = 0
    for number in numbers:
        call = draw_call(options.seed, number, options.libraries)
        counts[call.library, call.function] += 1
        try:
            fault = run(call)
        except pytest.skip.Exception as reason:
            skipped += 1
            if options.only is not None:
                print(f"skipped: {reason}")
            continue
        if fault is not None:
            failed += 1
            detail = "".join(traceback.format_exception(fault)) if options.only is not None else ""
            print(f"{call}\n    {type(fault).__name__}: {fault}\n{detail}", flush=True)
    for (library, function), count in sorted(counts.items()):
        print(f"{library:17s} {function:19s} {count}")
    print(f"{len(numbers)} calls, {failed} failed, {skipped} skipped")
    return int(failed > 0)


def run(call: Call) -> Exception | None:
    """Return what a call raises, None if its results are those expected."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            check(call)
        except Exception as fault:
            return fault
    return None


if __name__ == "__main__":
    sys.exit(main())
