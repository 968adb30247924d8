"""The targets of the suite: those of all libraries, and of compiled attention on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from afa_bench import cpu
from afa_bench.bounds import (
    Target,
    completes,
    error_limit,
    growth_limit,
    memory_limit,
    memory_saving,
    speedup,
    time_ratio,
)
from afa_bench.setting import Setting

SPANS = (1e-6, 1e-3, 1.0, 30.0, 300.0, 5000.0)
"""Decay × length of the sequence, from almost no decay to decay within one token."""

TORCH, JAX = Setting("torch"), Setting("jax")


def _weighting(weighting: str, name: str) -> Iterator[Target]:
    """Yield targets of one weighting in comparison with baselines."""
    dpa = "dot_product_attention"
    torch = TORCH._replace(weighting=weighting)
    if weighting == "rational":
        what = f"{name}, torch, forward"
        yield speedup(f"{what}: speed-up over published", torch, "published", 35)
        yield memory_saving(f"{what}: memory of published over ours", torch, "published", 50)
    jax = JAX._replace(weighting=weighting)
    yield time_ratio(f"{name}, JAX, forward: time over `jax.nn.{dpa}`", jax, dpa, 0.5)
    what = f"{name}, JAX, forward and backward: time over `jax.nn.{dpa}`"
    yield time_ratio(what, jax._replace(backward=True), dpa, 0.4)


def _long_sequences() -> Iterator[Target]:
    """Yield targets of long sequences: they run, in bounded memory, accurately."""
    for backward in (False, True):
        long = TORCH._replace(tokens=16384, heads=2, modes=32, backward=backward)
        what = f"N=16384, H=2, d=32, torch, {long.passes}: peak extra memory"
        yield memory_limit(what, long, 400e6)
    for library, name in (("torch", "torch"), ("jax", "JAX")):
        for backward in (False, True):
            longest = Setting(library, tokens=65536, heads=1, modes=32, backward=backward)
            what = f"N=65536, H=1, d=32, {name}, {longest.passes}"
            yield completes(what, longest)
            if library == "jax":
                yield memory_limit(f"{what}: peak extra memory", longest, 6e9)
            yield error_limit(f"{what}: error of the output in sampled rows", [longest], 2e-6)
        what = f"N=65536, H=1, d=32, {name}: error of the queries' gradient in sampled rows"
        yield error_limit(what, [longest], 2e-5, gradients=True)
    yield growth_limit(
        "time per pair at N=32768 over that at N=4096, H=2, torch",
        TORCH._replace(tokens=4096, heads=2),
        TORCH._replace(tokens=32768, heads=2),
        1.3,
    )


def _spans(library: str, *, backward: bool) -> list[Setting]:
    """Return settings from almost no decay to decay within one token."""
    base = Setting(library, tokens=1024, heads=2, modes=32, backward=backward)
    return [
        base._replace(weighting=weighting, decay=(span / base.tokens, span / base.tokens))
        for weighting in ("rational", "student")
        for span in SPANS
    ]


def _decays() -> Iterator[Target]:
    """Yield targets of the error over the whole range of decays."""
    for library in ("numpy", "torch", "jax"):
        what = f"decay × span from 1e-6 to 5000, {library}: error of the output"
        yield error_limit(what, _spans(library, backward=library != "numpy"), 2e-6)
    for library in ("torch", "jax"):
        what = f"decay × span from 1e-6 to 5000, {library}: error of the gradients"
        yield error_limit(what, _spans(library, backward=True), 2e-5, gradients=True)


def _other_cases() -> Iterator[Target]:
    """Yield targets of the diagonal form, of decoding and of windowed attention."""
    diagonal = TORCH._replace(form="diagonal", tokens=2048, heads=1)
    what = "diagonal, N=2048, H=1, torch"
    yield speedup(f"{what}: speed-up over reference", diagonal, "reference", 25)
    yield memory_saving(f"{what}: memory of reference over ours", diagonal, "reference", 150)
    yield error_limit(f"{what}: error of the output", [diagonal], 1e-5)
    for tokens, limit in ((4096, 1.3), (16384, 1.05)):
        step = TORCH._replace(case="decode", tokens=tokens)
        what = f"decode step at {tokens} cached tokens: time over SDPA"
        yield time_ratio(what, step, "sdpa", limit)
    window = TORCH._replace(case="window", tokens=32768, heads=1, decay=(1 / 128, 1 / 128))
    yield error_limit("window, N=32768, 1/μ=128: error of the output", [window], 2e-6)
    yield speedup("window, N=32768, 1/μ=128: speed-up over SDPA", window, "sdpa", 3)


TARGETS = tuple(
    chain(
        _weighting("rational", "Rational"),
        _weighting("student", "StudentT(4)"),
        cpu.targets(),
        _long_sequences(),
        _decays(),
        _other_cases(),
    )
)
