"""How it was measured: the method, the baselines, and the commands that measure again."""

from __future__ import annotations

from afa_bench.tables import markdown_table

METHOD = """\
## How it was measured

All candidates have the same inputs and are timed alternately in one process, so that other load on
the machine affects all of them. Where the load average before the run was near the number of cores
or above it, times are too long, and ratios less certain. Times are medians over rounds; a ratio is
that of two medians, followed among [all values](#all-values) by the quartiles of the ratios of
single rounds. Peak extra memory is the peak resident memory of a process during a call, its result
included, less its resident memory before the call; each value is measured in a fresh process. $d$
counts complex modes, so arrays have $2d$ channels; all attention is causal, in single precision
where no dtype is given. NumPy and PyTorch run eagerly, JAX compiled. The section on a GPU says what
differs there.
"""

BASELINES = (
    (
        "sdpa",
        "torch's fused `scaled_dot_product_attention` with the same number of real channels; the "
        "time includes rotating queries and keys (in a decoding step the query only, since the "
        "cache holds rotated keys), but not forming cosines and sines",
    ),
    ("sdpa-flash, sdpa-cudnn", "the same by FlashAttention, and by cuDNN, on a GPU"),
    (
        "flex",
        "FlexAttention, compiled: the isotropic form by two calls, since values decay, which a "
        "score alone cannot express; without gradients of parameters",
    ),
    (
        "dot_product_attention",
        "`jax.nn.dot_product_attention`, compiled, with the same rotary encodings",
    ),
    ("dot_product_attention-cudnn", "the same by cuDNN, on a GPU"),
    (
        "products",
        "the two matrix products alone, on the tiles at or below the diagonal: a lower bound of "
        "exact attention",
    ),
    (
        "published",
        "the published algorithm, re-created: each step materialises an array, complex products "
        "are four real ones; compiled in JAX, where users compile",
    ),
    ("published-folded", "the same with each complex product folded into one real one"),
    ("isotropic", "this library's isotropic form, on the same inputs"),
    ("regular", "this library, on the same tokens at regular times"),
    ("attention-step", "a token of a layer of rotary dot-product attention, written in NumPy"),
    (
        "attention-onnx",
        "an ONNX model of a layer of rotary dot-product attention, written by hand in ndonnx and "
        "simplified as that of the layer is",
    ),
    ("multihead", "`nn.MultiheadAttention`, causal, of as many channels and heads"),
    ("step", "a step of decoding written in NumPy for the isotropic form alone"),
    ("reference", "this library's implementation of that name; others likewise"),
    ("reference-compiled", "the reference, compiled by PyTorch"),
)

USAGE = """\
Measure shapes of your own:

```sh
python -m afa_bench --backend torch --tokens 4096 --modes 64 --heads 8 --baseline sdpa
```

Measure the settings of some targets again, which replace those in the report, by a pattern of their
text, here of compiled attention; and once more beside two busy processes:

```sh
python -m afa_bench.suite --only thread --output docs/reports/bench
python -m afa_bench.suite --only thread --busy 2 --output docs/reports/bench
```
"""


def method() -> str:
    """Return the section."""
    baselines = markdown_table(("baseline", "what it computes"), BASELINES)
    return "\n".join([METHOD, baselines, USAGE])
