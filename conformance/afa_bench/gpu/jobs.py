"""The jobs on GPUs, by importance: an interrupted run has the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from afa_bench.measure import Job
from afa_bench.setting import Setting

TORCH = Setting("torch", tokens=16384, dtype="bfloat16", device="cuda:0")
"""PyTorch's first device is named: its arrays are otherwise formed on the CPU."""
CORRELATED = TORCH._replace(correlated=True)
RATIONAL = TORCH._replace(weighting="rational")
SINGLE = TORCH._replace(dtype="float32")
NARROW = TORCH._replace(modes=32)
RADIAL = TORCH._replace(form="radial-tangential")
JAX = Setting("jax", tokens=4096, dtype="bfloat16")
CUPY = Setting("cupy", tokens=4096)

MAX_TOKENS = {
    "products": 16384,
    "dot_product_attention": 16384,
    "streaming": 4096,
    "reference": 4096,
}
"""Greatest number of tokens for which a baseline is measured: beyond, it takes long or does not
fit in memory."""
COMPILED = {"flex", "reference-compiled"}
"""Baselines that take up to a minute to compile, so that they have a few jobs of their own."""


def baselines(setting: Setting) -> tuple[str, ...]:
    """Return the names of the baselines of a setting, but for `COMPILED`."""
    half = setting.dtype == "bfloat16"
    names = {
        "torch": ("sdpa-flash", "sdpa-cudnn") if half else ("sdpa",),
        "jax": ("dot_product_attention", *("dot_product_attention-cudnn",) * half),
    }.get(setting.library, ())
    usual = setting.weighting == "student" and not setting.correlated
    if usual and setting.form == "isotropic" and setting.modes == TORCH.modes:
        names += ("reference",)
        if setting.library != "jax":  # whose every function takes seconds to compile
            names += ("streaming", *("products",) * (not setting.backward))
    return tuple(name for name in names if setting.tokens <= MAX_TOKENS.get(name, setting.tokens))


def jobs() -> list[Job]:
    """Return all jobs.

    Successive jobs of PyTorch have few kinds of kernels, which are compiled at their first call.
    """
    rows = [Job(each, baselines(each), memory=True) for each in _rows()]
    last = [
        *((each, ("sdpa-flash", "reference-compiled")) for each in _passes(TORCH, 4096)),
        *((each, ("sdpa-flash", "flex")) for each in _passes(TORCH, 16384)),
    ]
    return [*rows, *(Job(setting, names, memory=True) for setting, names in last)]


def _rows() -> Iterator[Setting]:
    for each in (TORCH, CORRELATED):
        yield from _passes(each, 16384)
    for tokens in (65536, 4096):
        for each in (CORRELATED, TORCH):
            yield from _passes(each, tokens)
    yield from _passes(TORCH, 1024)
    yield RATIONAL
    for tokens in (4096, 16384):
        yield from _passes(SINGLE, tokens)
    yield JAX._replace(tokens=16384)
    yield JAX._replace(backward=True)
    yield JAX._replace(dtype="float32")
    yield from _lengths(CUPY, (4096, 1024))
    yield RADIAL
    yield from _passes(NARROW, 16384)
    yield from _passes(NARROW, 4096)
    yield RATIONAL._replace(backward=True)


def _passes(setting: Setting, tokens: int) -> Iterator[Setting]:
    for backward in (False, True):
        yield setting._replace(tokens=tokens, backward=backward)


def _lengths(setting: Setting, lengths: Iterable[int]) -> Iterator[Setting]:
    for tokens in lengths:
        yield setting._replace(tokens=tokens)
