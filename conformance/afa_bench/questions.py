"""The tables of the page by the questions of users: times beside those of a baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from afa_bench.results import NotMeasured, Run
from afa_bench.setting import LAYER_STEP, ONNX_LAYER, SIZES, Setting, from_json
from afa_bench.tables import markdown_table
from afa_bench.units import bytes_text, digits, seconds_text

TORCH, NUMPY, JAX = Setting("torch", threads=2), Setting("numpy", threads=2), Setting("jax")
LAYER = TORCH._replace(case="layer", backward=True)
SPANS = Setting(tokens=1024, heads=2, modes=32)
TORCH_SPANS = SPANS._replace(backward=True)
RATIONAL = Setting("torch", weighting="rational")


def _output_error(run: Run, setting: Setting) -> float:
    return run.errors(setting)["output"]


def _gradient_error(run: Run, setting: Setting) -> float:
    """Return the largest error of a gradient; raise NotMeasured if there is none."""
    found = [error for name, error in run.errors(setting).items() if name != "output"]
    if not found:
        raise NotMeasured("the forward pass has no gradients")
    return max(found)


KINDS: dict[str, tuple[Callable[..., float], Callable[[float], str]]] = {
    "time": (Run.time, seconds_text),
    "memory": (Run.bytes, bytes_text),
    "output error": (_output_error, digits),
    "gradient error": (_gradient_error, digits),
}
"""What is in a cell: ``measured(run, setting)``, time and memory also of a baseline; its text."""


class Column(NamedTuple):
    """A column of a table: settings like `base`, what is measured of them, over a baseline."""

    title: str
    base: Setting
    baseline: str = ""
    kind: str = "time"

    def cell(self, run: Run, setting: Setting) -> str:
        """Return a value and its ratio to that of the baseline; empty if it was not measured."""
        measured, text = KINDS[self.kind]
        try:
            value = measured(run, setting)
            if not self.baseline:
                return text(value)
            return f"{text(value)} ({digits(value / measured(run, setting, self.baseline))} ×)"
        except NotMeasured:
            return ""


def sizes(setting: Setting) -> str:
    """Return the sizes of a problem."""
    batch = f"B={setting.batch}, " if setting.batch > 1 else ""
    return f"{batch}N={setting.tokens}, H={setting.heads}, d={setting.modes}"


def _order(setting: Setting) -> tuple[str, str, int, int, int]:
    return setting.form, setting.weighting, setting.batch, setting.heads, setting.tokens


def tokens(setting: Setting) -> str:
    """Return the number of tokens alone."""
    return str(setting.tokens)


class Table(NamedTuple):
    """A table with a row for each problem that differs from those of its columns in `free`."""

    head: str
    columns: tuple[Column, ...]
    row: Callable[[Setting], str] = sizes
    free: tuple[str, ...] = SIZES

    def markdown(self, run: Run) -> str:
        """Return the table; empty if nothing of it was measured."""
        rows: dict[str, list[str]] = {}
        settings = [from_json(record["setting"]) for record in run.report["records"]]
        for number, column in enumerate(self.columns):
            alike = {name: getattr(column.base, name) for name in self.free}
            for setting in sorted(settings, key=_order):
                cell = column.cell(run, setting)
                if cell and setting._replace(**alike) == column.base:
                    row = rows.setdefault(self.row(setting), [""] * len(self.columns))
                    row[number] = cell
        if not rows:
            return ""
        head = (self.head, *(column.title for column in self.columns))
        return markdown_table(head, [(name, *cells) for name, cells in rows.items()])


class Question(NamedTuple):
    """What users ask, what the tables below it show, and these tables."""

    title: str
    text: str
    tables: tuple[Table, ...]

    def markdown(self, run: Run) -> str:
        """Return the section; empty if nothing of it was measured."""
        tables = [text for text in (table.markdown(run) for table in self.tables) if text]
        return "\n".join([f"## {self.title}\n\n{self.text}", *tables]) if tables else ""


def _passes(base: Setting, baseline: str = "", kind: str = "time") -> tuple[Column, ...]:
    """Return a column of the forward pass, and one of the forward and backward pass."""
    both = (base._replace(backward=backward) for backward in (False, True))
    return tuple(Column(each.passes, each, baseline, kind) for each in both)


def _threads(base: Setting, baseline: str) -> tuple[Column, ...]:
    """Return a column of one thread, and one of two."""
    both = (base._replace(threads=threads) for threads in (1, 2))
    return tuple(Column(each.on_threads.strip(", "), each, baseline) for each in both)


QUESTIONS = (
    Question(
        "What does attention cost at my size?",
        """\
The forward pass in PyTorch, Student-t weights, independent keys. In brackets: the time over that of
`scaled_dot_product_attention` with rotary encodings.
""",
        (Table("size", _threads(TORCH, "sdpa")),),
    ),
    Question(
        "What does a training step cost?",
        """\
Forward and backward pass in PyTorch, with the gradients of all parameters. Over
`scaled_dot_product_attention`, and a layer over `nn.MultiheadAttention` of as many channels:
""",
        (
            Table("size", _threads(TORCH._replace(backward=True), "sdpa")),
            Table(
                "layer, 2 threads",
                (
                    Column("eager", LAYER, "multihead"),
                    Column("compiled", LAYER._replace(case="compiled layer"), "multihead"),
                ),
            ),
        ),
    ),
    Question(
        "What do correlated keys save?",
        """\
Keys that cannot matter are left out. In PyTorch on two threads, over
`scaled_dot_product_attention` of all keys:
""",
        (Table("size", _passes(TORCH._replace(correlated=True), "sdpa")),),
    ),
    Question(
        "What do other forms and irregular times cost?",
        """\
In PyTorch on two threads, over the isotropic form on the same inputs, and over the same tokens at
regular times:
""",
        (
            Table(
                "form",
                _passes(TORCH, "isotropic"),
                lambda setting: f"{setting.form}, {sizes(setting)}",
                (*SIZES, "form"),
            ),
            Table("irregular times", _passes(TORCH._replace(irregular=True), "regular")),
        ),
    ),
    Question(
        "What does decoding a token cost?",
        """\
A step with a cache, on two threads: attention of 8 heads of 64 modes in PyTorch over
`scaled_dot_product_attention`, in NumPy over a step written by hand; and a layer of 8 heads of 32
modes in NumPy over one of rotary attention.
""",
        (
            Table(
                "cached tokens",
                (
                    Column("PyTorch", TORCH._replace(case="decode"), "sdpa"),
                    Column("NumPy", NUMPY._replace(case="decode"), "step"),
                    Column("layer in NumPy", NUMPY._replace(case=LAYER_STEP), "attention-step"),
                ),
                tokens,
            ),
        ),
    ),
    Question(
        "And in JAX?",
        """\
Compiled, 4096 tokens, 8 heads of 64 modes, over `jax.nn.dot_product_attention`:
""",
        (
            Table(
                "weights",
                _passes(JAX, "dot_product_attention"),
                lambda setting: setting.weighting,
                ("weighting",),
            ),
        ),
    ),
    Question(
        "What does serving cost in NumPy and ONNX?",
        """\
Attention in NumPy with the compiled loops of Numba on two threads, over its two matrix products
alone; and an ONNX model of a layer in ONNX Runtime on one thread, over that of a layer of rotary
attention.
""",
        (
            Table(
                "attention in NumPy",
                (
                    Column("Student-t weights", NUMPY, "products"),
                    Column("rational weights", NUMPY._replace(weighting="rational"), "products"),
                ),
            ),
            Table(
                "ONNX model",
                tuple(
                    Column(
                        f"{'ir' if irregular else ''}regular times",
                        Setting("numpy", ONNX_LAYER, threads=1, irregular=irregular),
                        "attention-onnx",
                    )
                    for irregular in (False, True)
                ),
            ),
        ),
    ),
    Question(
        "How much memory does it take?",
        """\
Peak extra memory in PyTorch on two threads, and in JAX:
""",
        (
            Table("PyTorch", _passes(TORCH, kind="memory")),
            Table("JAX", _passes(JAX, kind="memory")),
        ),
    ),
    Question(
        "How accurate is single precision?",
        """\
Largest errors against the reference in double precision, relative to the largest element of the
exact result: 1024 tokens, 2 heads of 32 modes, Student-t weights, from almost no decay to decay
within one token. Each gradient is relative to its own largest element, which becomes small for the
frequencies where the decay is fast.
""",
        (
            Table(
                "decay × tokens",
                (
                    Column("NumPy, output", SPANS._replace(library="numpy"), kind="output error"),
                    Column("PyTorch, output", TORCH_SPANS, kind="output error"),
                    Column("PyTorch, gradients", TORCH_SPANS, kind="gradient error"),
                ),
                lambda setting: f"{setting.decay[0] * setting.tokens:g}",
                ("decay",),
            ),
        ),
    ),
    Question(
        "And the published algorithm?",
        """\
Rational weights in PyTorch, over the published algorithm, which materialises its arrays:
""",
        (
            Table(
                "size",
                (
                    Column("time", RATIONAL, "published"),
                    Column("peak extra memory", RATIONAL, "published", "memory"),
                ),
            ),
        ),
    ),
)
