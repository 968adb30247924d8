"""What cannot be computed is refused, in the same words on every array library."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import afa_core as afa
from afa_core._checks import values as checks
from afa_core.implementations import IMPLEMENTATIONS

NOISE = afa.Noise(0.2, 1.0, 1.0)
BAD_NOISE = (0.2, 1.0, 1.0)

NO_ARRAY = (
    "`{}` must be an array of a library that follows the array API standard "
    "(NumPy, PyTorch, JAX, CuPy, …), got {}. Convert it first."
)
NO_PARAMETER = (
    "`{}` must be a Python number or an array of a real floating dtype, got {}. Convert it first."
)
NOT_REAL = "`{}` must have a real floating dtype, got {}. Cast it first."
NOT_FLOATING = "`{}` must have a real or complex floating dtype, got {}. Cast it first."
NO_TIME = "`{}` must have a real floating or signed integer dtype, got {}. Cast it first."
NO_MASK = "`mask` must be boolean (True attends), got {}. Compare it with something first."
WRONG_KIND = (
    "`{}` must be {}, got {}. Pass complex arrays for all of them, or real pairs for all of them."
)
WRONG_AXIS = "`{}` must have shape {} to match {}, got {}."
TOO_FLAT = (
    "`{}` must have shape (..., tokens, channels ≥ 1), got {}. "
    "Add the missing axes, and at least one channel."
)
ODD = (
    "`{}` must have an even last axis, (re, im) pairs of complex modes, got shape {}. "
    "Pass a complex array, or add the imaginary parts."
)
LEADING = (
    "leading axes (batch, heads) must broadcast against each other, got {}. "
    "Insert axes of length 1 or expand one of them."
)
TOGETHER = (
    "{} must broadcast against each other, got {}. Insert axes of length 1 or expand one of them."
)
OTHER_LIBRARY = (
    "`{}` must come from the same array library as `{}` ({{own}}), got {{other}}. "
    "Convert one of the two."
)
WIDE_MASK = (
    "`mask` must broadcast to (..., 3, 3), queries by keys, got {}. "
    "Give axes that do not vary length 1."
)
NO_CAUSAL = "`causal` must be True or False, got {}. Convert it, or pass a `mask`."
NO_LAYOUT = "`layout` must be one of 'interleaved', 'halves', got {}."
NO_IMPLEMENTATION = (
    "`implementation` must be one of 'auto', 'linear', 'streaming', 'reference', got {}."
)
NO_SDE = (
    "`sde` must be of type IsotropicSDE or DiagonalSDE or RadialTangentialSDE, got {}. "
    "Construct one."
)
NO_WEIGHTING = (
    "`weighting` must be of type StudentT or Gaussian or Rational or Uniform, got {}. "
    "Construct one."
)
NO_NOISE = "`{}` must be of type Noise, got {}. Construct one."


class Wrong(NamedTuple):
    """An input that is refused: `make` takes the library's `Maker`."""

    name: str
    make: Any
    error: type[Exception]
    message: str


class Maker(NamedTuple):
    """Makes what a case needs in one array library, and arrays of another one."""

    array: Any
    foreign: Any

    def normal(self, *shape: int) -> Any:
        return self.array(np.random.default_rng(0).standard_normal(shape))

    def ones(self, *shape: int, dtype: str = "float64") -> Any:
        return self.array(np.ones(shape, dtype))

    def isotropic(self, **changes: Any) -> afa.IsotropicSDE:
        return afa.IsotropicSDE(0.1, self.ones(2), NOISE)._replace(**changes)

    def diagonal(self, **changes: Any) -> afa.DiagonalSDE:
        return afa.DiagonalSDE(self.ones(2), self.ones(2), NOISE)._replace(**changes)

    def radial_tangential(self, **changes: Any) -> afa.RadialTangentialSDE:
        return afa.RadialTangentialSDE(0.1, self.ones(2), NOISE, NOISE)._replace(**changes)

    def estimate(self, **changes: Any) -> afa.Estimate:
        return afa.Estimate(self.normal(3, 4), self.ones(3))._replace(**changes)

    def directed(self, **changes: Any) -> afa.Estimate:
        precision = afa.RadialTangential(self.ones(3), self.ones(3))
        return afa.Estimate(self.normal(3, 4), precision._replace(**changes))


@pytest.fixture
def maker(library, host) -> Maker:
    other = host("torch" if library.name == "numpy" else "numpy")
    return Maker(library.from_numpy, other.from_numpy)


def message_of(call: Any, error: type[Exception]) -> str:
    """The message of the error that `call` raises; a warning before it would be another error."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    return str(caught.value)


def expected(message: str, library: Any) -> str:
    own = library.name
    return message.replace("{own}", own).replace("{other}", "torch" if own == "numpy" else "numpy")


def cases(*wrong: Wrong) -> Any:
    return pytest.mark.parametrize("wrong", [pytest.param(each, id=each.name) for each in wrong])


# The arguments of attention: what `make` returns replaces good ones.
ATTENTION = [
    # What is no array.
    Wrong("list", lambda m: {"query": [[1.0, 2.0]]}, TypeError, NO_ARRAY.format("query", "list")),
    Wrong("none", lambda m: {"key": None}, TypeError, NO_ARRAY.format("key", "NoneType")),
    Wrong("number", lambda m: {"value": 1.0}, TypeError, NO_ARRAY.format("value", "float")),
    Wrong("mask list", lambda m: {"mask": [[True]]}, TypeError, NO_ARRAY.format("mask", "list")),
    Wrong("mask True", lambda m: {"mask": True}, TypeError, NO_ARRAY.format("mask", "bool")),
    Wrong(
        "times list",
        lambda m: {"key_times": [0.0, 1.0, 2.0]},
        TypeError,
        NO_ARRAY.format("key_times", "list"),
    ),
    Wrong(
        "anchor list",
        lambda m: {"sde": m.radial_tangential(), "anchor": [[1.0]]},
        TypeError,
        NO_ARRAY.format("anchor", "list"),
    ),
    Wrong(
        "masked array",
        lambda m: {"query": np.ma.masked_array(np.ones((3, 4)))},
        TypeError,
        NO_ARRAY.format("query", "MaskedArray"),
    ),
    # Arrays of two libraries.
    Wrong(
        "foreign key",
        lambda m: {"key": m.foreign(np.ones((3, 4)))},
        TypeError,
        OTHER_LIBRARY.format("key", "query"),
    ),
    Wrong(
        "foreign mask",
        lambda m: {"mask": m.foreign(np.ones((3, 3), bool))},
        TypeError,
        OTHER_LIBRARY.format("mask", "query"),
    ),
    Wrong(
        "foreign decay",
        lambda m: {"sde": m.isotropic(decay=m.foreign(np.ones(1)))},
        TypeError,
        OTHER_LIBRARY.format("sde.decay", "query"),
    ),
    Wrong(
        "foreign noise",
        lambda m: {"sde": m.isotropic(noise=NOISE._replace(query=m.foreign(np.ones(1))))},
        TypeError,
        OTHER_LIBRARY.format("sde.noise.query", "query"),
    ),
    Wrong(
        "foreign dof",
        lambda m: {"weighting": afa.StudentT(m.foreign(np.ones(1)))},
        TypeError,
        OTHER_LIBRARY.format("weighting.dof", "query"),
    ),
    Wrong(
        "foreign temperature",
        lambda m: {"inverse_temperature": m.foreign(np.ones(1))},
        TypeError,
        OTHER_LIBRARY.format("inverse_temperature", "query"),
    ),
    # Dtypes.
    Wrong(
        "integer query",
        lambda m: {"query": m.ones(3, 4, dtype="int64")},
        TypeError,
        NOT_FLOATING.format("query", "int64"),
    ),
    Wrong(
        "boolean key",
        lambda m: {"key": m.ones(3, 4, dtype="bool")},
        TypeError,
        NOT_FLOATING.format("key", "bool"),
    ),
    Wrong(
        "integer anchor",
        lambda m: {"sde": m.radial_tangential(), "anchor": m.ones(3, 4, dtype="int32")},
        TypeError,
        NOT_FLOATING.format("anchor", "int32"),
    ),
    Wrong(
        "complex query, real value",
        lambda m: {n: m.ones(3, 2, dtype="complex128") for n in ("query", "key")},
        TypeError,
        WRONG_KIND.format("value", "complex like `query`", "float64"),
    ),
    Wrong(
        "complex value",
        lambda m: {"value": m.ones(3, 2, dtype="complex128")},
        TypeError,
        WRONG_KIND.format("value", "real like `query`", "complex128"),
    ),
    Wrong(
        "complex anchor",
        lambda m: {"sde": m.radial_tangential(), "anchor": m.ones(3, 2, dtype="complex64")},
        TypeError,
        WRONG_KIND.format("anchor", "real like `query`", "complex64"),
    ),
    Wrong(
        "integer mask",
        lambda m: {"mask": m.ones(3, 3, dtype="int64")},
        TypeError,
        NO_MASK.format("int64"),
    ),
    Wrong("real mask", lambda m: {"mask": m.ones(3, 3)}, TypeError, NO_MASK.format("float64")),
    Wrong(
        "boolean times",
        lambda m: {"key_times": m.ones(3, dtype="bool")},
        TypeError,
        NO_TIME.format("key_times", "bool"),
    ),
    Wrong(
        "unsigned times",
        lambda m: {"key_times": m.ones(3, dtype="uint8")},
        TypeError,
        NO_TIME.format("key_times", "uint8"),
    ),
    Wrong(
        "complex times",
        lambda m: {"query_times": m.ones(3, dtype="complex64")},
        TypeError,
        NO_TIME.format("query_times", "complex64"),
    ),
    # Shapes of the tokens.
    Wrong(
        "scalar query", lambda m: {"query": m.ones()}, ValueError, TOO_FLAT.format("query", "()")
    ),
    Wrong(
        "flat query", lambda m: {"query": m.ones(4)}, ValueError, TOO_FLAT.format("query", "(4,)")
    ),
    Wrong("flat key", lambda m: {"key": m.ones(4)}, ValueError, TOO_FLAT.format("key", "(4,)")),
    Wrong(
        "flat value", lambda m: {"value": m.ones(3)}, ValueError, TOO_FLAT.format("value", "(3,)")
    ),
    Wrong(
        "no channels",
        lambda m: {"query": m.ones(3, 0), "key": m.ones(3, 0)},
        ValueError,
        TOO_FLAT.format("query", "(3, 0)"),
    ),
    Wrong(
        "no value channels",
        lambda m: {"value": m.ones(3, 0)},
        ValueError,
        TOO_FLAT.format("value", "(3, 0)"),
    ),
    Wrong(
        "odd query",
        lambda m: {"query": m.ones(3, 3), "key": m.ones(3, 3)},
        ValueError,
        ODD.format("query", "(3, 3)"),
    ),
    Wrong(
        "odd value", lambda m: {"value": m.ones(3, 5)}, ValueError, ODD.format("value", "(3, 5)")
    ),
    Wrong(
        "wider key",
        lambda m: {"key": m.ones(3, 6)},
        ValueError,
        WRONG_AXIS.format("key", "(..., 4)", "the channels of `query`", "(3, 6)"),
    ),
    Wrong(
        "shorter value",
        lambda m: {"value": m.ones(1, 4)},
        ValueError,
        WRONG_AXIS.format("value", "(..., 3, 4)", "the tokens of `key`", "(1, 4)"),
    ),
    Wrong(
        "value of other modes",
        lambda m: {"sde": m.diagonal(), "value": m.ones(3, 6)},
        ValueError,
        WRONG_AXIS.format("value", "(..., 4)", "`query`: all share the modes", "(3, 6)"),
    ),
    Wrong(
        "batches",
        lambda m: {"query": m.ones(2, 3, 4), "key": m.ones(5, 3, 4)},
        ValueError,
        LEADING.format("`query` (2,), `key` (5,)"),
    ),
    # Masks and times.
    Wrong(
        "queries of mask",
        lambda m: {"mask": m.ones(2, 3, dtype="bool")},
        ValueError,
        WIDE_MASK.format("(2, 3)"),
    ),
    Wrong(
        "keys of mask",
        lambda m: {"mask": m.ones(2, dtype="bool")},
        ValueError,
        WIDE_MASK.format("(2,)"),
    ),
    Wrong(
        "batch of mask",
        lambda m: {"query": m.ones(2, 3, 4), "mask": m.ones(5, 3, 3, dtype="bool")},
        ValueError,
        LEADING.format("`query` (2,), `mask` (5,)"),
    ),
    Wrong("causal 1", lambda m: {"causal": 1}, TypeError, NO_CAUSAL.format("1")),
    Wrong("causal None", lambda m: {"causal": None}, TypeError, NO_CAUSAL.format("None")),
    Wrong("causal NumPy", lambda m: {"causal": np.True_}, TypeError, NO_CAUSAL.format("np.True_")),
    Wrong(
        "long times",
        lambda m: {"query_times": m.ones(4)},
        ValueError,
        WRONG_AXIS.format("query_times", "(..., 3)", "the tokens of `query`", "(4,)"),
    ),
    Wrong(
        "one time for all",
        lambda m: {"key_times": m.ones(1)},
        ValueError,
        WRONG_AXIS.format("key_times", "(..., 3)", "the tokens of `key`", "(1,)"),
    ),
    Wrong(
        "scalar time",
        lambda m: {"key_times": m.ones()},
        ValueError,
        WRONG_AXIS.format("key_times", "(..., 3)", "the tokens of `key`", "()"),
    ),
    Wrong(
        "batch of times",
        lambda m: {"query": m.ones(2, 3, 4), "key_times": m.ones(5, 3)},
        ValueError,
        LEADING.format("`query` (2,), `key_times` (5,)"),
    ),
    Wrong(
        "key times needed",
        lambda m: {"query": m.ones(2, 4), "query_times": m.ones(2)},
        ValueError,
        "`key_times` must be given, got None with 2 queries and 3 keys.",
    ),
    Wrong(
        "query times needed",
        lambda m: {"query": m.ones(5, 4), "key_times": m.ones(3)},
        ValueError,
        "`query_times` must be given, got None with 5 queries and 3 keys.",
    ),
    # The model.
    Wrong("no sde", lambda m: {"sde": None}, TypeError, NO_SDE.format("NoneType")),
    Wrong("tuple as sde", lambda m: {"sde": (0.1, 1.0, NOISE)}, TypeError, NO_SDE.format("tuple")),
    Wrong("class as sde", lambda m: {"sde": afa.IsotropicSDE}, TypeError, NO_SDE.format("type")),
    Wrong("array as sde", lambda m: {"sde": m.ones(3)}, TypeError, NO_SDE.format("an array")),
    Wrong(
        "tuple as noise",
        lambda m: {"sde": m.isotropic(noise=BAD_NOISE)},
        TypeError,
        NO_NOISE.format("sde.noise", "tuple"),
    ),
    Wrong(
        "number as noise",
        lambda m: {"sde": m.diagonal(noise=1.0)},
        TypeError,
        NO_NOISE.format("sde.noise", "float"),
    ),
    Wrong(
        "array as noise",
        lambda m: {"sde": m.isotropic(noise=m.ones(3))},
        TypeError,
        NO_NOISE.format("sde.noise", "an array"),
    ),
    Wrong(
        "no tangential noise",
        lambda m: {"sde": m.radial_tangential(tangential_noise=None)},
        TypeError,
        NO_NOISE.format("sde.tangential_noise", "NoneType"),
    ),
    Wrong(
        "no decay",
        lambda m: {"sde": m.isotropic(decay=None)},
        TypeError,
        NO_PARAMETER.format("sde.decay", "NoneType"),
    ),
    Wrong(
        "list as decay",
        lambda m: {"sde": m.isotropic(decay=[0.1])},
        TypeError,
        NO_PARAMETER.format("sde.decay", "list"),
    ),
    Wrong(
        "truth as decay",
        lambda m: {"sde": m.isotropic(decay=True)},
        TypeError,
        NO_PARAMETER.format("sde.decay", "bool"),
    ),
    Wrong(
        "noise as decay",
        lambda m: {"sde": m.isotropic(decay=NOISE)},
        TypeError,
        NO_PARAMETER.format("sde.decay", "Noise"),
    ),
    Wrong(
        "complex decay",
        lambda m: {"sde": m.isotropic(decay=0.1 + 1j)},
        TypeError,
        NO_PARAMETER.format("sde.decay", "complex"),
    ),
    Wrong(
        "complex array as decay",
        lambda m: {"sde": m.diagonal(decay=m.ones(2, dtype="complex128"))},
        TypeError,
        NOT_REAL.format("sde.decay", "complex128"),
    ),
    Wrong(
        "integer decay",
        lambda m: {"sde": m.isotropic(decay=m.ones(1, dtype="int64"))},
        TypeError,
        NOT_REAL.format("sde.decay", "int64"),
    ),
    Wrong(
        "no frequency",
        lambda m: {"sde": m.isotropic(frequency=None)},
        TypeError,
        NO_PARAMETER.format("sde.frequency", "NoneType"),
    ),
    Wrong(
        "no process noise",
        lambda m: {"sde": m.isotropic(noise=NOISE._replace(process=None))},
        TypeError,
        NO_PARAMETER.format("sde.noise.process", "NoneType"),
    ),
    Wrong(
        "text as value frequency",
        lambda m: {"sde": m.isotropic(value_frequency="off")},
        TypeError,
        NO_PARAMETER.format("sde.value_frequency", "str"),
    ),
    Wrong(
        "decays",
        lambda m: {"query": m.ones(2, 3, 4), "sde": m.isotropic(decay=m.ones(5))},
        ValueError,
        LEADING.format("`query` (2,), `sde.decay` (5,)"),
    ),
    Wrong(
        "frequencies",
        lambda m: {"sde": m.isotropic(frequency=m.ones(3))},
        ValueError,
        WRONG_AXIS.format("sde.frequency", "(..., 2)", "the modes of `query`", "(3,)"),
    ),
    Wrong(
        "one frequency for all",
        lambda m: {"sde": m.isotropic(frequency=m.ones(1))},
        ValueError,
        WRONG_AXIS.format("sde.frequency", "(..., 2)", "the modes of `query`", "(1,)"),
    ),
    Wrong(
        "diagonal noise",
        lambda m: {"sde": m.diagonal(noise=NOISE._replace(process=m.ones(3)))},
        ValueError,
        WRONG_AXIS.format("sde.noise.process", "(..., 2)", "the modes of `query`", "(3,)"),
    ),
    Wrong(
        "value frequency needed",
        lambda m: {"value": m.ones(3, 6)},
        ValueError,
        "`sde.value_frequency` must be given, got None with 3 modes in `value` and 2 in `query`: "
        "pass one frequency a mode, or 0.0.",
    ),
    Wrong(
        "value frequencies",
        lambda m: {"sde": m.isotropic(value_frequency=m.ones(3))},
        ValueError,
        WRONG_AXIS.format("sde.value_frequency", "(..., 2)", "the modes of `value`", "(3,)"),
    ),
    # The anchor.
    Wrong(
        "superfluous anchor",
        lambda m: {"anchor": m.ones(3, 4)},
        ValueError,
        "`anchor` belongs to RadialTangentialSDE only, got IsotropicSDE. Leave it out.",
    ),
    Wrong(
        "missing anchor",
        lambda m: {"sde": m.radial_tangential(), "query": m.ones(2, 4)},
        ValueError,
        "`anchor` must be given, got None with 2 queries and 3 keys: pass the direction of each "
        "query's estimate, (..., n, c_v).",
    ),
    Wrong(
        "tokens of anchor",
        lambda m: {"sde": m.radial_tangential(), "anchor": m.ones(2, 4)},
        ValueError,
        WRONG_AXIS.format("anchor", "(..., 3, 4)", "the tokens of `query`", "(2, 4)"),
    ),
    Wrong(
        "channels of anchor",
        lambda m: {"sde": m.radial_tangential(), "anchor": m.ones(3, 6)},
        ValueError,
        WRONG_AXIS.format("anchor", "(..., 4)", "the channels of `value`", "(3, 6)"),
    ),
    # The weighting and the temperature.
    Wrong(
        "class as weighting",
        lambda m: {"weighting": afa.StudentT},
        TypeError,
        NO_WEIGHTING.format("type"),
    ),
    Wrong(
        "text as weighting",
        lambda m: {"weighting": "gaussian"},
        TypeError,
        NO_WEIGHTING.format("str"),
    ),
    Wrong(
        "no weighting", lambda m: {"weighting": None}, TypeError, NO_WEIGHTING.format("NoneType")
    ),
    Wrong(
        "no dof",
        lambda m: {"weighting": afa.Rational(None)},
        TypeError,
        NO_PARAMETER.format("weighting.dof", "NoneType"),
    ),
    Wrong(
        "tuple as dof",
        lambda m: {"weighting": afa.StudentT((4.0,))},
        TypeError,
        NO_PARAMETER.format("weighting.dof", "tuple"),
    ),
    Wrong(
        "integer dof",
        lambda m: {"weighting": afa.StudentT(m.ones(1, dtype="int64"))},
        TypeError,
        NOT_REAL.format("weighting.dof", "int64"),
    ),
    Wrong(
        "dofs",
        lambda m: {"query": m.ones(2, 3, 4), "weighting": afa.StudentT(m.ones(5))},
        ValueError,
        LEADING.format("`query` (2,), `weighting.dof` (5,)"),
    ),
    Wrong(
        "no temperature",
        lambda m: {"inverse_temperature": None},
        TypeError,
        NO_PARAMETER.format("inverse_temperature", "NoneType"),
    ),
    Wrong(
        "list as temperature",
        lambda m: {"inverse_temperature": [1.0]},
        TypeError,
        NO_PARAMETER.format("inverse_temperature", "list"),
    ),
    Wrong(
        "temperatures",
        lambda m: {"query": m.ones(2, 3, 4), "inverse_temperature": m.ones(5)},
        ValueError,
        LEADING.format("`query` (2,), `inverse_temperature` (5,)"),
    ),
    # Names.
    Wrong(
        "layout", lambda m: {"layout": "interleave"}, ValueError, NO_LAYOUT.format("'interleave'")
    ),
    Wrong("no layout", lambda m: {"layout": None}, ValueError, NO_LAYOUT.format("None")),
    Wrong("layouts", lambda m: {"layout": ["halves"]}, ValueError, NO_LAYOUT.format("['halves']")),
]

IMPLEMENTATION = [
    Wrong("typo", lambda m: "refrence", ValueError, NO_IMPLEMENTATION.format("'refrence'")),
    Wrong("none", lambda m: None, ValueError, NO_IMPLEMENTATION.format("None")),
    Wrong("list", lambda m: ["auto"], ValueError, NO_IMPLEMENTATION.format("['auto']")),
]


def arguments(maker: Maker, **changes: Any) -> dict[str, Any]:
    tokens = {name: maker.normal(3, 4) for name in ("query", "key", "value")}
    return {**tokens, "sde": maker.isotropic(), **changes}


@cases(*ATTENTION)
def test_attention_refuses(wrong, maker, library):
    for function in (afa.attention, afa.estimate, afa.attention_weights, afa.explain):
        given = arguments(maker, **wrong.make(maker))
        message = message_of(lambda: function(**given), wrong.error)  # noqa: B023
        assert message == expected(wrong.message, library), function.__name__


@cases(*IMPLEMENTATION)
def test_implementation_must_exist(wrong, maker):
    given = arguments(maker, implementation=wrong.make(maker))
    for function in (afa.attention, afa.estimate, afa.explain):
        assert message_of(lambda: function(**given), wrong.error) == wrong.message  # noqa: B023


def test_implementation_that_cannot_run_says_why(maker, monkeypatch):
    lame = IMPLEMENTATIONS[-1]._replace(name="lame", refusal=lambda *_: "it has no legs.")
    monkeypatch.setattr("afa_core.implementations.IMPLEMENTATIONS", (lame, *IMPLEMENTATIONS))
    given = arguments(maker, implementation="lame")
    message = "`implementation` 'lame' cannot run this problem: it has no legs."
    assert message_of(lambda: afa.attention(**given), ValueError) == message


@pytest.mark.parametrize("name", ["temperature", "scale"])
def test_unknown_options_are_named(name, maker):
    given = arguments(maker, **{name: 1.0})
    message = (
        "options must be among `weighting`, `inverse_temperature`, `query_times`, `key_times`, "
        f"`causal`, `mask`, `anchor`, `layout`, got `{name}`. Correct the name."
    )
    for function in (afa.estimate, afa.attention_weights, afa.explain):
        assert message_of(lambda: function(**given), TypeError) == message  # noqa: B023
    assert f"'{name}'" in message_of(lambda: afa.attention(**given), TypeError)


def test_weights_take_no_implementation(maker):
    given = arguments(maker, implementation="auto")
    assert "got `implementation`" in message_of(lambda: afa.attention_weights(**given), TypeError)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("array_api_strict", "CPU_DEVICE", "device1"), ("torch", "cpu", "meta")],
)
def test_devices_must_agree(name, first, second, host):
    backend = host(name)
    there, shown = second, (first, second)
    if name == "array_api_strict":
        import array_api_strict

        there = array_api_strict.Device(second)
        shown = tuple(f"array_api_strict.Device('{each}')" for each in shown)
    maker = Maker(backend.from_numpy, None)
    far = backend.from_numpy(np.ones((3, 4)), device=there)
    far_decay = backend.from_numpy(np.ones(()), device=there)
    message = "`{}` must be on the same device as `{}` ({}), got {}. Move one of the two."
    calls = {
        ("value", "query"): lambda: afa.attention(**arguments(maker, value=far)),
        ("sde.decay", "query"): lambda: afa.attention(
            **arguments(maker, sde=maker.isotropic(decay=far_decay))
        ),
        ("sde.decay", "mean"): lambda: afa.predict(
            maker.ones(3, 4), maker.isotropic(decay=far_decay), 1.0
        ),
        ("value", "mean"): lambda: afa.innovation(maker.ones(3, 4), far),
        ("prior_precision", "precision"): lambda: afa.gate(maker.ones(3), far_decay),
        ("decay", "lag"): lambda: maker.isotropic(decay=far_decay).covariance(maker.ones(1)),
        ("anchor", "estimate.mean"): lambda: afa.sample(
            maker.directed(), rng=np.random.default_rng(0), anchor=far
        ),
    }
    for (moved, stayed), call in calls.items():
        assert message_of(call, ValueError) == message.format(moved, stayed, *shown)


PREDICT = [
    Wrong(
        "mean", lambda m: ([[1.0]], m.isotropic(), 1.0), TypeError, NO_ARRAY.format("mean", "list")
    ),
    Wrong(
        "flat",
        lambda m: (m.ones(4), m.isotropic(), 1.0),
        ValueError,
        TOO_FLAT.format("mean", "(4,)"),
    ),
    Wrong(
        "odd",
        lambda m: (m.ones(3, 5), m.isotropic(), 1.0),
        ValueError,
        ODD.format("mean", "(3, 5)"),
    ),
    Wrong(
        "integers",
        lambda m: (m.ones(3, 4, dtype="int64"), m.isotropic(), 1.0),
        TypeError,
        NOT_FLOATING.format("mean", "int64"),
    ),
    Wrong("sde", lambda m: (m.ones(3, 4), 0.1, 1.0), TypeError, NO_SDE.format("float")),
    Wrong(
        "decay",
        lambda m: (m.ones(3, 4), m.isotropic(decay=None), 1.0),
        TypeError,
        NO_PARAMETER.format("sde.decay", "NoneType"),
    ),
    Wrong(
        "foreign decay",
        lambda m: (m.ones(3, 4), m.isotropic(decay=m.foreign(np.ones(1))), 1.0),
        TypeError,
        OTHER_LIBRARY.format("sde.decay", "mean"),
    ),
    Wrong(
        "modes",
        lambda m: (m.ones(3, 6), m.diagonal(), 1.0),
        ValueError,
        WRONG_AXIS.format("sde.decay", "(..., 3)", "the modes of `mean`", "(2,)"),
    ),
    Wrong(
        "modes of value",
        lambda m: (m.ones(3, 6), m.isotropic(value_frequency=m.ones(2)), 1.0),
        ValueError,
        WRONG_AXIS.format("sde.value_frequency", "(..., 3)", "the modes of `mean`", "(2,)"),
    ),
    Wrong(
        "horizon",
        lambda m: (m.ones(3, 4), m.isotropic(), None),
        TypeError,
        NO_PARAMETER.format("horizon", "NoneType"),
    ),
    Wrong(
        "integer horizon",
        lambda m: (m.ones(3, 4), m.isotropic(), m.ones(3, dtype="int64")),
        TypeError,
        NOT_REAL.format("horizon", "int64"),
    ),
    Wrong(
        "scalar horizon",
        lambda m: (m.ones(3, 4), m.isotropic(), m.ones()),
        ValueError,
        WRONG_AXIS.format("horizon", "(..., 3)", "the tokens of `mean`", "()"),
    ),
    Wrong(
        "batches",
        lambda m: (m.ones(2, 3, 4), m.isotropic(decay=m.ones(5)), 1.0),
        ValueError,
        LEADING.format("`mean` (2,), `sde.decay` (5,)"),
    ),
    Wrong(
        "layout",
        lambda m: (m.ones(3, 4), m.isotropic(), 1.0, "half"),
        ValueError,
        NO_LAYOUT.format("'half'"),
    ),
]


@cases(*PREDICT)
def test_predict_refuses(wrong, maker, library):
    mean, sde, horizon, *layout = wrong.make(maker)
    options = {"layout": layout[0]} if layout else {}
    message = message_of(lambda: afa.predict(mean, sde, horizon, **options), wrong.error)
    assert message == expected(wrong.message, library)


INNOVATION = [
    Wrong("mean", lambda m: (None, m.ones(3, 4)), TypeError, NO_ARRAY.format("mean", "NoneType")),
    Wrong("value", lambda m: (m.ones(3, 4), [1.0]), TypeError, NO_ARRAY.format("value", "list")),
    Wrong(
        "flat", lambda m: (m.ones(3, 4), m.ones(4)), ValueError, TOO_FLAT.format("value", "(4,)")
    ),
    Wrong(
        "kinds",
        lambda m: (m.ones(3, 4), m.ones(3, 4, dtype="complex64")),
        TypeError,
        WRONG_KIND.format("value", "real like `mean`", "complex64"),
    ),
    Wrong(
        "foreign",
        lambda m: (m.ones(3, 4), m.foreign(np.ones((3, 4)))),
        TypeError,
        OTHER_LIBRARY.format("value", "mean"),
    ),
    Wrong(
        "channels",
        lambda m: (m.ones(3, 4), m.ones(3, 2)),
        ValueError,
        WRONG_AXIS.format("value", "(..., 4)", "the channels of `mean`", "(3, 2)"),
    ),
    Wrong(
        "tokens",
        lambda m: (m.ones(3, 4), m.ones(1, 4)),
        ValueError,
        WRONG_AXIS.format("value", "(..., 3, 4)", "the tokens of `mean`", "(1, 4)"),
    ),
    Wrong(
        "batches",
        lambda m: (m.ones(2, 3, 4), m.ones(5, 3, 4)),
        ValueError,
        LEADING.format("`mean` (2,), `value` (5,)"),
    ),
]


@cases(*INNOVATION)
def test_innovation_refuses(wrong, maker, library):
    message = message_of(lambda: afa.innovation(*wrong.make(maker)), wrong.error)
    assert message == expected(wrong.message, library)


GATE = [
    Wrong("number", lambda m: (1.0, 1.0), TypeError, NO_ARRAY.format("precision", "float")),
    Wrong(
        "estimate",
        lambda m: (m.estimate(), 1.0),
        TypeError,
        NO_ARRAY.format("precision", "Estimate"),
    ),
    Wrong(
        "half of a pair",
        lambda m: (afa.RadialTangential(m.ones(3), None), 1.0),
        TypeError,
        NO_ARRAY.format("precision", "NoneType"),
    ),
    Wrong(
        "integers",
        lambda m: (m.ones(3, dtype="int64"), 1.0),
        TypeError,
        NOT_REAL.format("precision", "int64"),
    ),
    Wrong(
        "prior",
        lambda m: (m.ones(3), [1.0]),
        TypeError,
        NO_PARAMETER.format("prior_precision", "list"),
    ),
    Wrong(
        "foreign",
        lambda m: (m.ones(3), m.foreign(np.ones(3))),
        TypeError,
        OTHER_LIBRARY.format("prior_precision", "precision"),
    ),
    Wrong(
        "shapes",
        lambda m: (m.ones(3), m.ones(4)),
        ValueError,
        TOGETHER.format("the precisions", "`precision` (3,), `prior_precision` (4,)"),
    ),
]


@cases(*GATE)
def test_gate_refuses(wrong, maker, library):
    message = message_of(lambda: afa.gate(*wrong.make(maker)), wrong.error)
    assert message == expected(wrong.message, library)


SAMPLE = [
    Wrong(
        "tuple",
        lambda m: {"estimate": (m.ones(3, 4), m.ones(3))},
        TypeError,
        "`estimate` must be of type Estimate, got tuple. Construct one.",
    ),
    Wrong(
        "seed",
        lambda m: {"rng": 0},
        TypeError,
        "`rng` must be a numpy.random.Generator, got int. Make one with numpy.random.default_rng.",
    ),
    Wrong(
        "mean",
        lambda m: {"estimate": m.estimate(mean=[[1.0]])},
        TypeError,
        NO_ARRAY.format("estimate.mean", "list"),
    ),
    Wrong(
        "precision",
        lambda m: {"estimate": m.estimate(precision=1.0)},
        TypeError,
        NO_ARRAY.format("estimate.precision", "float"),
    ),
    Wrong(
        "foreign precision",
        lambda m: {"estimate": m.estimate(precision=m.foreign(np.ones(3)))},
        TypeError,
        OTHER_LIBRARY.format("estimate.precision", "estimate.mean"),
    ),
    Wrong(
        "tokens of precision",
        lambda m: {"estimate": m.estimate(precision=m.ones(4))},
        ValueError,
        WRONG_AXIS.format(
            "estimate.precision", "(..., 3)", "the tokens of `estimate.mean`", "(4,)"
        ),
    ),
    Wrong(
        "scalar precision",
        lambda m: {"estimate": m.estimate(precision=m.ones())},
        ValueError,
        WRONG_AXIS.format("estimate.precision", "(..., 3)", "the tokens of `estimate.mean`", "()"),
    ),
    Wrong(
        "modes of precision",
        lambda m: {"estimate": m.estimate(precision=m.ones(3, 4))},
        ValueError,
        WRONG_AXIS.format(
            "estimate.precision", "(..., 2)", "the modes of `estimate.mean`", "(3, 4)"
        ),
    ),
    Wrong(
        "batches",
        lambda m: {"estimate": afa.Estimate(m.ones(2, 3, 4), m.ones(5, 3))},
        ValueError,
        LEADING.format("`estimate.mean` (2,), `estimate.precision` (5,)"),
    ),
    Wrong(
        "noise",
        lambda m: {"query_noise": NOISE},
        TypeError,
        NO_PARAMETER.format("query_noise", "Noise"),
    ),
    Wrong(
        "shape of noise",
        lambda m: {"query_noise": m.ones(2)},
        ValueError,
        TOGETHER.format("the variances", "`estimate.precision` (3,), `query_noise` (2,)"),
    ),
    Wrong(
        "axes of noise",
        lambda m: {"query_noise": m.ones(5, 3)},
        ValueError,
        "`query_noise` must broadcast to (3,), the shape of `estimate.precision`, got (5, 3). "
        "Leave out axes that the precision has not.",
    ),
    Wrong(
        "superfluous anchor",
        lambda m: {"anchor": m.ones(3, 4)},
        ValueError,
        "`anchor` belongs to a precision of type RadialTangential only. Leave it out.",
    ),
    Wrong(
        "missing anchor",
        lambda m: {"estimate": m.directed()},
        ValueError,
        "`anchor` must be given with a precision of type RadialTangential, got None. "
        "Pass the direction of each estimate, (..., n, c_v).",
    ),
    Wrong(
        "anchor",
        lambda m: {"estimate": m.directed(), "anchor": [1.0]},
        TypeError,
        NO_ARRAY.format("anchor", "list"),
    ),
    Wrong(
        "complex anchor",
        lambda m: {"estimate": m.directed(), "anchor": m.ones(3, 2, dtype="complex64")},
        TypeError,
        WRONG_KIND.format("anchor", "real like `estimate.mean`", "complex64"),
    ),
    Wrong(
        "tokens of anchor",
        lambda m: {"estimate": m.directed(), "anchor": m.ones(1, 4)},
        ValueError,
        WRONG_AXIS.format("anchor", "(..., 3, 4)", "the tokens of `estimate.mean`", "(1, 4)"),
    ),
    Wrong(
        "radial precision",
        lambda m: {"estimate": m.directed(radial=None), "anchor": m.ones(3, 4)},
        TypeError,
        NO_ARRAY.format("estimate.precision.radial", "NoneType"),
    ),
    Wrong("layout", lambda m: {"layout": "half"}, ValueError, NO_LAYOUT.format("'half'")),
]


@cases(*SAMPLE)
def test_sample_refuses(wrong, maker, library):
    good = {"estimate": maker.estimate(), "rng": np.random.default_rng(0)}
    message = message_of(lambda: afa.sample(**{**good, **wrong.make(maker)}), wrong.error)
    assert message == expected(wrong.message, library)


EQUILIBRIUM = [
    Wrong("sde", lambda m: (None, m.ones(4)), TypeError, NO_SDE.format("NoneType")),
    Wrong("swapped", lambda m: (m.ones(4), m.isotropic()), TypeError, NO_SDE.format("an array")),
    Wrong(
        "number",
        lambda m: (m.isotropic(), 1.0),
        TypeError,
        NO_ARRAY.format("constant_input", "float"),
    ),
    Wrong(
        "scalar",
        lambda m: (m.isotropic(), m.ones()),
        ValueError,
        "`constant_input` must have shape (..., channels ≥ 1), got (). "
        "Add the missing axes, and at least one channel.",
    ),
    Wrong(
        "odd",
        lambda m: (m.isotropic(), m.ones(3)),
        ValueError,
        ODD.format("constant_input", "(3,)"),
    ),
    Wrong(
        "modes",
        lambda m: (m.isotropic(), m.ones(6)),
        ValueError,
        WRONG_AXIS.format("sde.frequency", "(..., 3)", "the modes of `constant_input`", "(2,)"),
    ),
    Wrong(
        "batches",
        lambda m: (m.isotropic(decay=m.ones(5)), m.ones(2, 4)),
        ValueError,
        LEADING.format("`constant_input` (2,), `sde.decay` (5,)"),
    ),
]


@cases(*EQUILIBRIUM)
def test_equilibrium_refuses(wrong, maker, library):
    message = message_of(lambda: afa.equilibrium(*wrong.make(maker)), wrong.error)
    assert message == expected(wrong.message, library)


DELAY_KEYS = [
    Wrong("list", lambda m: ([0.0], 1.0), TypeError, NO_ARRAY.format("key_times", "list")),
    Wrong(
        "integers",
        lambda m: (m.ones(3, dtype="int64"), 1.0),
        TypeError,
        NOT_REAL.format("key_times", "int64"),
    ),
    Wrong(
        "scalar",
        lambda m: (m.ones(), 1.0),
        ValueError,
        "`key_times` must have shape (..., m), got (). Add the axis of keys.",
    ),
    Wrong(
        "delay", lambda m: (m.ones(3), None), TypeError, NO_PARAMETER.format("delay", "NoneType")
    ),
    Wrong(
        "batches",
        lambda m: (m.ones(2, 3), m.ones(5)),
        ValueError,
        LEADING.format("`key_times` (2,), `delay` (5,)"),
    ),
]


@cases(*DELAY_KEYS)
def test_delay_keys_refuses(wrong, maker, library):
    message = message_of(lambda: afa.delay_keys(*wrong.make(maker)), wrong.error)
    assert message == expected(wrong.message, library)


LAG = [
    Wrong("number", lambda m: (m.isotropic(), 1.0), TypeError, NO_ARRAY.format("lag", "float")),
    Wrong("list", lambda m: (m.diagonal(), [1.0]), TypeError, NO_ARRAY.format("lag", "list")),
    Wrong(
        "integers",
        lambda m: (m.isotropic(), m.ones(3, dtype="int64")),
        TypeError,
        NOT_REAL.format("lag", "int64"),
    ),
    Wrong(
        "decay",
        lambda m: (m.isotropic(decay=None), m.ones(3)),
        TypeError,
        NO_PARAMETER.format("decay", "NoneType"),
    ),
    Wrong(
        "noise",
        lambda m: (m.radial_tangential(radial_noise=BAD_NOISE), m.ones(3)),
        TypeError,
        NO_NOISE.format("radial_noise", "tuple"),
    ),
    Wrong(
        "foreign",
        lambda m: (m.diagonal(decay=m.foreign(np.ones(1))), m.ones(1)),
        TypeError,
        OTHER_LIBRARY.format("decay", "lag"),
    ),
]


@pytest.mark.parametrize("method", ["transition", "covariance", "residual_covariance"])
@cases(*LAG)
def test_model_refuses_lag(wrong, method, maker, library):
    sde, lag = wrong.make(maker)
    message = message_of(lambda: getattr(sde, method)(lag), wrong.error)
    assert message == expected(wrong.message, library)


def test_lag_must_broadcast_against_parameters(maker):
    lag, sde = maker.ones(5), maker.isotropic(decay=maker.ones(7))
    shapes = "`lag` (5,), `decay` (7,)"
    for function in (sde.covariance, sde.residual_covariance):
        message = message_of(lambda: function(lag), ValueError)  # noqa: B023
        assert message == TOGETHER.format("`lag` and the parameters", shapes)
    shapes = "`lag` (5,), `decay` (7, 1), `frequency` (2,)"
    message = message_of(lambda: sde.transition(lag), ValueError)
    assert message == TOGETHER.format("`lag` and the parameters", shapes)


INF, NAN = float("inf"), float("nan")
VALUES = [
    Wrong(
        "decay",
        lambda m: m.isotropic(decay=-1.0),
        ValueError,
        "`decay` must be finite and ≥ 0, got -1.",
    ),
    Wrong(
        "nan",
        lambda m: m.diagonal(decay=NAN),
        ValueError,
        "`decay` must be finite and ≥ 0, got nan.",
    ),
    Wrong(
        "inf",
        lambda m: m.isotropic(decay=INF),
        ValueError,
        "`decay` must be finite and ≥ 0, got inf.",
    ),
    Wrong(
        "one decay",
        lambda m: m.diagonal(decay=m.array(np.asarray([0.5, -0.25], "float32"))),
        ValueError,
        "`decay` must be finite and ≥ 0, got -0.25.",
    ),
    Wrong(
        "frequency",
        lambda m: m.isotropic(frequency=-INF),
        ValueError,
        "`frequency` must be finite, got -inf.",
    ),
    Wrong(
        "value frequency",
        lambda m: m.isotropic(value_frequency=m.array(np.asarray([0.0, NAN]))),
        ValueError,
        "`value_frequency` must be finite, got nan.",
    ),
    Wrong(
        "process",
        lambda m: m.isotropic(noise=NOISE._replace(process=-0.5)),
        ValueError,
        "`noise.process` must be finite and ≥ 0, got -0.5.",
    ),
    Wrong(
        "measurement",
        lambda m: m.radial_tangential(radial_noise=NOISE._replace(measurement=NAN)),
        ValueError,
        "`radial_noise.measurement` must be finite and ≥ 0, got nan.",
    ),
    Wrong(
        "no variance",
        lambda m: m.radial_tangential(tangential_noise=afa.Noise(1.0, 0.0, 0.0)),
        ValueError,
        "`tangential_noise.measurement` + `tangential_noise.query` must be > 0, got 0. "
        "Give one of them a positive value.",
    ),
    Wrong(
        "no variance in one mode",
        lambda m: m.diagonal(noise=afa.Noise(1.0, m.array(np.asarray([0.0, 1.0])), 0.0)),
        ValueError,
        "`noise.measurement` + `noise.query` must be > 0, got 0. "
        "Give one of them a positive value.",
    ),
    Wrong(
        "shapes",
        lambda m: m.isotropic(noise=afa.Noise(1.0, m.ones(2), m.ones(3))),
        ValueError,
        TOGETHER.format("noises", "`noise.measurement` (2,), `noise.query` (3,)"),
    ),
    Wrong(
        "no decay",
        lambda m: m.isotropic(decay=None),
        TypeError,
        NO_PARAMETER.format("decay", "NoneType"),
    ),
    Wrong(
        "integer decay",
        lambda m: m.diagonal(decay=m.ones(2, dtype="int64")),
        TypeError,
        NOT_REAL.format("decay", "int64"),
    ),
    Wrong(
        "no noise",
        lambda m: m.diagonal(noise=BAD_NOISE),
        TypeError,
        NO_NOISE.format("noise", "tuple"),
    ),
    Wrong("dof", lambda m: afa.StudentT(0.0), ValueError, "`dof` must be finite and > 0, got 0."),
    Wrong(
        "infinite dof",
        lambda m: afa.Rational(INF),
        ValueError,
        "`dof` must be finite and > 0, got inf.",
    ),
    Wrong(
        "one dof",
        lambda m: afa.StudentT(m.array(np.asarray([4.0, -1.0]))),
        ValueError,
        "`dof` must be finite and > 0, got -1.",
    ),
    Wrong(
        "no dof", lambda m: afa.Rational(None), TypeError, NO_PARAMETER.format("dof", "NoneType")
    ),
]


@cases(*VALUES)
def test_values_are_refused_on_request(wrong, maker):
    assert message_of(wrong.make(maker).validate, wrong.error) == wrong.message


def test_good_values_are_accepted(maker):
    one_of_two = afa.Noise(
        0.0, maker.array(np.asarray([0.0, 1.0])), maker.array(np.asarray([1.0, 0.0]))
    )
    for sde in (
        maker.isotropic(decay=0),
        maker.diagonal(noise=one_of_two),
        maker.radial_tangential(),
    ):
        sde.validate()
    for weighting in (afa.StudentT(maker.ones(2)), afa.Rational(1), afa.Gaussian(), afa.Uniform()):
        weighting.validate()


def test_values_of_parameters_that_are_trained_are_read_without_warning(host):
    import torch

    host("torch")
    decay = torch.asarray([0.1, -2.0], requires_grad=True)
    message = message_of(afa.IsotropicSDE(decay, 1.0, NOISE).validate, ValueError)
    assert message == "`decay` must be finite and ≥ 0, got -2."


def test_attention_does_not_read_values(maker):
    """Bad values go through: checking them would break tracing and wait for the device."""
    afa.attention(**arguments(maker, sde=maker.isotropic(decay=maker.array(np.asarray(NAN)))))


@pytest.mark.parametrize(
    "weighting", [afa.StudentT(), afa.Rational(), afa.Gaussian(), afa.Uniform()]
)
def test_weight_of_no_array(weighting):
    message = message_of(lambda: weighting.log_weight([1.0], 2), TypeError)
    assert message == NO_ARRAY.format("distance", "list")


def test_numbers_alone_have_no_library():
    message = message_of(lambda: afa.StudentT(4.0).log_weight(1.0, 2), TypeError)
    assert message == (
        "one of `distance`, `dof` must be an array, got Python numbers only. Convert one of them."
    )


def test_checks_name_the_first_bad_field():
    message = message_of(lambda: checks.require_positive(a=1.0, b=-1.0, c=-2.0), ValueError)
    assert message == "`b` must be finite and > 0, got -1."
