"""What is aimed at, by name: each a number from one run, and what it should not exceed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from afa_bench.measure import Job
from afa_bench.results import Run
from afa_bench.setting import Setting
from afa_bench.units import bytes_text, digits, seconds_text

SPANS = (1e-6, 1e-3, 1.0, 30.0, 300.0, 5000.0)
"""Decay × length of the sequence, from no forgetting to forgetting at once."""


class Target(NamedTuple):
    """A number that a run is asked for.

    Parameters
    ----------
    what : str
    relation : {"≤", "≥", "<", "runs"}
    bound : float
        Ignored by "runs", for which having been measured is enough.
    text : callable
        The number as text.
    jobs : tuple of Job
        What has to be measured.
    measured : callable
        ``measured(run)``: the number; raises Missing with the reason if there is none.
    """

    what: str
    relation: str
    bound: float
    text: Callable[[float], str]
    jobs: tuple[Job, ...]
    measured: Callable[[Run], float]

    @property
    def goal(self) -> str:
        """What is aimed at, as text."""
        return self.relation if self.relation == "runs" else f"{self.relation} {self._bound}"

    def met(self, found: float) -> bool:
        """Whether a measured number is as aimed at."""
        met = {"≤": found <= self.bound, "≥": found >= self.bound, "<": found < self.bound}
        return met.get(self.relation, True)

    @property
    def _bound(self) -> str:
        return self.text(self.bound)


def times(number: float) -> str:
    """Return a ratio as text."""
    return f"{number:g} ×" if number == round(number, 2) else f"{digits(number)} ×"


def slower(what: str, setting: Setting, rival: str, bound: float) -> Target:
    """Aim at our time over a rival's, at most."""
    return Target(
        what,
        "≤",
        bound,
        times,
        (Job(setting, (rival,)),),
        lambda run: run.time(setting) / run.time(setting, rival),
    )


def faster(what: str, setting: Setting, rival: str, bound: float) -> Target:
    """Aim at a rival's time over ours, at least."""
    return slower(what, setting, rival, bound)._replace(
        relation="≥", measured=lambda run: run.time(setting, rival) / run.time(setting)
    )


def leaner(what: str, setting: Setting, rival: str, bound: float) -> Target:
    """Aim at a rival's peak extra memory over ours, at least."""
    return Target(
        what,
        "≥",
        bound,
        times,
        (Job(setting, (rival,), memory=True),),
        lambda run: run.bytes(setting, rival) / run.bytes(setting),
    )


def small(what: str, setting: Setting, bound: float) -> Target:
    """Aim at less than a peak extra memory."""
    job = Job(setting, time=False, memory=True)
    return Target(what, "<", bound, bytes_text, (job,), lambda run: run.bytes(setting))


def runs(what: str, setting: Setting) -> Target:
    """Aim at a run that ends, however long it takes."""
    job = Job(setting, repeats=1)
    return Target(what, "runs", 0.0, seconds_text, (job,), lambda run: run.time(setting))


def accurate(
    what: str, settings: Iterable[Setting], bound: float, *, gradients: bool = False
) -> Target:
    """Aim at the greatest relative error of the output, or of any gradient, at most."""
    listed = tuple(settings)

    def measured(run: Run) -> float:
        return max(
            error
            for setting in listed
            for name, error in run.errors(setting).items()
            if (name != "output") == gradients
        )

    chosen = tuple(Job(setting, time=False, accuracy=True) for setting in listed)
    return Target(what, "≤", bound, digits, chosen, measured)


def growth(what: str, short: Setting, long: Setting, bound: float) -> Target:
    """Aim at time per pair of tokens at one length over that at another, at most."""

    def measured(run: Run) -> float:
        return (run.time(long) / long.pairs) / (run.time(short) / short.pairs)

    return Target(what, "≤", bound, times, (Job(short), Job(long)), measured)


def spans(library: str, *, backward: bool) -> list[Setting]:
    """Return settings from almost no decay to a decay within a token."""
    base = Setting(library, tokens=1024, heads=2, modes=32, backward=backward)
    return [
        base._replace(weighting=weighting, decay=(span / base.tokens, span / base.tokens))
        for weighting in ("rational", "student")
        for span in SPANS
    ]


def _targets() -> Iterable[Target]:
    torch, jax, numpy = Setting("torch"), Setting("jax"), Setting("numpy")
    dpa = "dot_product_attention"
    for weighting, bound in (("rational", 1.35), ("student", 1.5)):
        name = {"rational": "Rational", "student": "StudentT(4)"}[weighting]
        own = torch._replace(weighting=weighting)
        yield slower(f"{name}, torch, forward: time over SDPA with rotary", own, "sdpa", bound)
        if weighting == "rational":
            yield faster(f"{name}, torch, forward: faster than published", own, "published", 35)
            yield leaner(
                f"{name}, torch, forward: less memory than published", own, "published", 50
            )
        own = jax._replace(weighting=weighting)
        yield slower(f"{name}, JAX, forward: time over `jax.nn.{dpa}`", own, dpa, 0.5)
        own = numpy._replace(weighting=weighting)
        yield slower(f"{name}, NumPy: time over the two products alone", own, "products", 1.8)
        both = torch._replace(weighting=weighting, backward=True)
        yield slower(f"{name}, torch, forward and backward: over SDPA's", both, "sdpa", 1.6)
        both = jax._replace(weighting=weighting, backward=True)
        yield slower(f"{name}, JAX, forward and backward: over `jax.nn.{dpa}`", both, dpa, 0.4)
        for tokens, most in ((1024, 1.7), (256, 2.0)):
            own = torch._replace(weighting=weighting, tokens=tokens)
            yield slower(f"{name}, torch, N={tokens}, forward: over SDPA", own, "sdpa", most)
    long = torch._replace(tokens=16384, heads=2, modes=32)
    for setting in (long, long._replace(backward=True)):
        what = f"N=16384, H=2, d=32, torch, {setting.passes}: peak extra memory"
        yield small(what, setting, 400e6)
    for library, name in (("torch", "torch"), ("jax", "JAX")):
        for backward in (False, True):
            longest = Setting(library, tokens=65536, heads=1, modes=32, backward=backward)
            what = f"N=65536, H=1, d=32, {name}, {longest.passes}"
            yield runs(what, longest)
            yield small(f"{what}: peak extra memory", longest, 6e9)
            yield accurate(f"{what}: error of the output in sampled rows", [longest], 2e-6)
        what = f"N=65536, H=1, d=32, {name}: error of the queries' gradient in sampled rows"
        yield accurate(what, [longest], 2e-5, gradients=True)
    yield growth(
        "time per pair at N=32768 over that at N=4096, H=2, torch",
        torch._replace(tokens=4096, heads=2),
        torch._replace(tokens=32768, heads=2),
        1.3,
    )
    for library in ("numpy", "torch", "jax"):
        what = f"decay × span from 1e-6 to 5000, {library}: error of the output"
        yield accurate(what, spans(library, backward=library != "numpy"), 2e-6)
    for library in ("torch", "jax"):
        what = f"decay × span from 1e-6 to 5000, {library}: error of the gradients"
        yield accurate(what, spans(library, backward=True), 2e-5, gradients=True)
    radial = torch._replace(form="radial-tangential")
    yield slower("radial–tangential, torch, forward: over isotropic", radial, "isotropic", 2.2)
    diagonal = torch._replace(form="diagonal", tokens=2048, heads=1)
    literal = "reference"
    yield faster("diagonal, N=2048, H=1, torch: faster than materialised", diagonal, literal, 25)
    yield leaner("diagonal, N=2048, H=1, torch: less memory", diagonal, literal, 150)
    yield accurate("diagonal, N=2048, H=1, torch: error of the output", [diagonal], 1e-5)
    for tokens, most in ((4096, 1.3), (16384, 1.05)):
        step = torch._replace(case="decode", tokens=tokens)
        yield slower(f"decode step at {tokens} cached tokens: over SDPA's", step, "sdpa", most)
    window = torch._replace(case="window", tokens=32768, heads=1, decay=(1 / 128, 1 / 128))
    yield accurate("window, N=32768, 1/μ=128: error of the output", [window], 2e-6)
    yield faster("window, N=32768, 1/μ=128: faster than SDPA", window, "sdpa", 3)


TARGETS = tuple(_targets())
