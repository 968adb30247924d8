"""Targets: numbers computed from one run, each with a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from afa_bench.measure import Job
from afa_bench.results import Run
from afa_bench.setting import Setting
from afa_bench.units import bytes_text, digits, seconds_text

SPANS = (1e-6, 1e-3, 1.0, 30.0, 300.0, 5000.0)
"""Decay × length of the sequence, from almost no decay to decay within one token."""


class Target(NamedTuple):
    """A number with a bound.

    Parameters
    ----------
    what : str
    relation : {"≤", "≥", "<", "runs"}
    bound : float
        Ignored by "runs", for which it is enough to have been measured.
    text : callable
        ``text(number)``: the number as text.
    jobs : tuple of Job
        What has to be measured.
    measured : callable
        ``measured(run)``: the number; raises NotMeasured if the run lacks it.
    """

    what: str
    relation: str
    bound: float
    text: Callable[[float], str]
    jobs: tuple[Job, ...]
    measured: Callable[[Run], float]

    @property
    def goal(self) -> str:
        """The relation and the bound as text."""
        runs = self.relation == "runs"
        return self.relation if runs else f"{self.relation} {self.text(self.bound)}"

    def met(self, number: float) -> bool:
        """Return whether a measured number satisfies the relation."""
        met = {"≤": number <= self.bound, "≥": number >= self.bound, "<": number < self.bound}
        return met.get(self.relation, True)


def times(number: float) -> str:
    """Return a ratio as text."""
    return f"{number:g} ×" if number == round(number, 2) else f"{digits(number)} ×"


def time_ratio(what: str, setting: Setting, baseline: str, bound: float) -> Target:
    """Bound the time of this library over that of a baseline from above."""
    return Target(
        what,
        "≤",
        bound,
        times,
        (Job(setting, (baseline,)),),
        lambda run: run.time(setting) / run.time(setting, baseline),
    )


def speedup(what: str, setting: Setting, baseline: str, bound: float) -> Target:
    """Bound the time of a baseline over that of this library from below."""
    return time_ratio(what, setting, baseline, bound)._replace(
        relation="≥", measured=lambda run: run.time(setting, baseline) / run.time(setting)
    )


def memory_saving(what: str, setting: Setting, baseline: str, bound: float) -> Target:
    """Bound the peak extra memory of a baseline over that of this library from below."""
    return Target(
        what,
        "≥",
        bound,
        times,
        (Job(setting, (baseline,), memory=True),),
        lambda run: run.bytes(setting, baseline) / run.bytes(setting),
    )


def memory_limit(what: str, setting: Setting, bound: float) -> Target:
    """Bound the peak extra memory in bytes from above."""
    job = Job(setting, time=False, memory=True)
    return Target(what, "<", bound, bytes_text, (job,), lambda run: run.bytes(setting))


def completes(what: str, setting: Setting) -> Target:
    """Require a measurement of time, however long."""
    job = Job(setting, repeats=1)
    return Target(what, "runs", 0.0, seconds_text, (job,), lambda run: run.time(setting))


def error_limit(
    what: str, settings: Iterable[Setting], bound: float, *, gradients: bool = False
) -> Target:
    """Bound the maximum relative error of the output, or of all gradients, from above."""
    listed = tuple(settings)

    def measured(run: Run) -> float:
        return max(
            error
            for setting in listed
            for name, error in run.errors(setting).items()
            if (name != "output") == gradients
        )

    jobs = tuple(Job(setting, time=False, accuracy=True) for setting in listed)
    return Target(what, "≤", bound, digits, jobs, measured)


def growth_limit(what: str, short: Setting, long: Setting, bound: float) -> Target:
    """Bound the time per pair of tokens at one length over that at a shorter one from above."""

    def measured(run: Run) -> float:
        return (run.time(long) / long.pairs) / (run.time(short) / short.pairs)

    return Target(what, "≤", bound, times, (Job(short), Job(long)), measured)


TORCH, JAX, NUMPY = Setting("torch"), Setting("jax"), Setting("numpy")


def _weighting(weighting: str, name: str, bound: float) -> Iterator[Target]:
    """Yield targets of one weighting in comparison with baselines."""
    dpa = "dot_product_attention"
    torch = TORCH._replace(weighting=weighting)
    yield time_ratio(f"{name}, torch, forward: time over SDPA with rotary", torch, "sdpa", bound)
    if weighting == "rational":
        what = f"{name}, torch, forward"
        yield speedup(f"{what}: speed-up over published", torch, "published", 35)
        yield memory_saving(f"{what}: memory of published over ours", torch, "published", 50)
    jax = JAX._replace(weighting=weighting)
    yield time_ratio(f"{name}, JAX, forward: time over `jax.nn.{dpa}`", jax, dpa, 0.5)
    numpy = NUMPY._replace(weighting=weighting)
    yield time_ratio(f"{name}, NumPy: time over the two products alone", numpy, "products", 1.8)
    what = "forward and backward: time over"
    backward = torch._replace(backward=True)
    yield time_ratio(f"{name}, torch, {what} SDPA", backward, "sdpa", 1.6)
    backward = jax._replace(backward=True)
    yield time_ratio(f"{name}, JAX, {what} `jax.nn.{dpa}`", backward, dpa, 0.4)
    for tokens, limit in ((1024, 1.7), (256, 2.0)):
        short = torch._replace(tokens=tokens)
        yield time_ratio(
            f"{name}, torch, N={tokens}, forward: time over SDPA", short, "sdpa", limit
        )


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
    """Yield targets of the other forms, of decoding and of windowed attention."""
    radial = TORCH._replace(form="radial-tangential")
    what = "radial–tangential, torch, forward: time over isotropic"
    yield time_ratio(what, radial, "isotropic", 2.2)
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
        _weighting("rational", "Rational", 1.35),
        _weighting("student", "StudentT(4)", 1.5),
        _long_sequences(),
        _decays(),
        _other_cases(),
    )
)
