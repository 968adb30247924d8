"""Targets of compiled attention on a CPU: on one thread or two, short sequences included."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product

from afa_bench.bounds import Target, memory_limit, time_ratio
from afa_bench.setting import LAYER_STEP, ONNX_LAYER, Setting

TORCH = Setting("torch", threads=2)
MANY = TORCH._replace(batch=8, heads=4, modes=16)
"""Many short sequences; `TORCH` is one with wide heads."""

OVER_SDPA = (
    *(
        (MANY._replace(tokens=tokens), bound)
        for tokens, bound in ((128, 1.6), (256, 1.3), (512, 1.15))
    ),
    *((TORCH._replace(tokens=256), 1.25),),
    *((TORCH._replace(tokens=tokens), 1.15) for tokens in (1024, 4096, 16384)),
)
"""Settings, and bounds of the time of a forward pass over that of dot-product attention."""

ROUNDS = {2048: 3, 4096: 5, 16384: 2, 65536: 1}
"""Rounds of timing by the number of tokens; 7 of fewer tokens."""


BYTES = 250e6 / 65536
"""Bound of the peak extra memory of a token of 64 channels."""


def targets() -> Iterator[Target]:
    """Yield all of them."""
    yield from chain(_dot_product(), _forms(), _times(), _layers(), _correlated(), _steps())
    yield from _models()
    for tokens, backward in product((4096, 16384, 65536), (False, True)):
        one = TORCH._replace(tokens=tokens, heads=1, modes=32, backward=backward)
        yield memory_limit(f"{one.describe()}: peak extra memory", one, BYTES * tokens)


def _over(setting: Setting, baseline: str, bound: float) -> Target:
    what = f"{setting.describe()}: time over {baseline}"
    return time_ratio(what, setting, baseline, bound, repeats=ROUNDS.get(setting.tokens, 7))


def _dot_product() -> Iterator[Target]:
    """Yield ratios to dot-product attention, and to its two products in NumPy."""
    for weighting, backward in product(("student", "rational"), (False, True)):
        for (sized, forward), threads in product(OVER_SDPA, (1, 2)):
            if backward and sized.tokens == 16384 and threads == 1:
                continue  # takes minutes
            setting = sized._replace(weighting=weighting, backward=backward, threads=threads)
            bound = (1.6 if sized.tokens == 128 else 1.3) if backward else forward
            yield _over(setting, "sdpa", bound)
    for weighting, tokens in product(("student", "rational"), (1024, 4096, 16384)):
        numpy = TORCH._replace(library="numpy", weighting=weighting, tokens=tokens)
        yield _over(numpy, "products", 1.15)


def _forms() -> Iterator[Target]:
    """Yield ratios of the other forms to the isotropic one."""
    for backward in (False, True):
        for sized in (MANY._replace(tokens=512), TORCH):
            radial = sized._replace(form="radial-tangential", backward=backward)
            yield _over(radial, "isotropic", 2.0)
    for sized in (MANY._replace(tokens=512), TORCH._replace(tokens=2048, heads=1)):
        diagonal = sized._replace(form="diagonal", backward=True)
        yield _over(diagonal, "isotropic", 6.0)


def _times() -> Iterator[Target]:
    """Yield ratios of irregular to regular times."""
    for tokens, backward in product((120, 512, 4096), (False, True)):
        setting = TORCH._replace(batch=6, heads=4, modes=20, tokens=tokens, irregular=True)
        yield _over(setting._replace(backward=backward), "regular", 1.15)


def _layers() -> Iterator[Target]:
    """Yield ratios of layers of 128 channels to `nn.MultiheadAttention`."""
    for case, tokens in product(("layer", "compiled layer"), (128, 256, 512)):
        yield _over(MANY._replace(case=case, tokens=tokens, backward=True), "multihead", 1.5)


def _correlated() -> Iterator[Target]:
    """Yield ratios of correlated keys, of which far ones are left out, to dot-product attention."""
    for (tokens, bound), backward in product(
        ((4096, 0.75), (16384, 0.4), (65536, 0.15)), (False, True)
    ):
        setting = TORCH._replace(tokens=tokens, correlated=True, backward=backward)
        yield _over(setting, "sdpa", bound)


def _steps() -> Iterator[Target]:
    """Yield ratios of decoding steps to dot-product attention, and to one written by hand."""
    for tokens in (1, 64, 1024):
        step = TORCH._replace(case="decode", tokens=tokens)
        yield _over(step, "sdpa", 1.5)
        yield _over(step._replace(library="numpy"), "step", 2.0)
    for tokens in (64, 1024):
        layer = TORCH._replace(library="numpy", case=LAYER_STEP, tokens=tokens, modes=32)
        yield _over(layer, "attention-step", 3.0)


def _models() -> Iterator[Target]:
    """Yield ratios of ONNX models of layers of 512 channels."""
    numpy = TORCH._replace(library="numpy", case=ONNX_LAYER, modes=32, threads=1)
    for tokens, irregular in product((64, 256, 1024), (False, True)):
        setting = numpy._replace(tokens=tokens, irregular=irregular)
        yield _over(setting, "attention-onnx", 3.0)
