"""Bad input to attention and the functions that take the same arguments."""

import numpy as np

import afa_core as afa

from .cases import (
    NOISE,
    bad_input,
    diagonal,
    foreign,
    isotropic,
    noise,
    normal,
    ones,
    radial_tangential,
)
from .messages import (
    leading_axes,
    missing,
    not_a_layout,
    not_a_noise,
    not_a_number,
    not_a_tile,
    not_a_weighting,
    not_an_array,
    not_an_sde,
    not_boolean,
    not_floating,
    not_real,
    not_times,
    not_tokens,
    odd_channels,
    superfluous_anchor,
    two_kinds,
    two_libraries,
    unknown_option,
    unlike,
    wrong_shape,
)

LISTED = "one of 'auto', 'linear', 'fused', 'triton', 'pallas', 'streaming', 'reference'"


def wrong_mask(shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"`mask` must broadcast to (..., 3, 3), queries by keys, got {shape}. "
        "Give axes that do not vary length 1."
    )


def not_causal(got: str) -> TypeError:
    return TypeError(f"`causal` must be True or False, got {got}. Convert it, or pass a `mask`.")


def one_mask_for_all(shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        "`mask` must have shape (..., 1, m) with `correlated`, since a filter has one set of "
        f"measurements for all queries, got {shape}. Pass a mask of keys, or `correlated=False`."
    )


def no_variance_per_mode(got: tuple[int, ...]) -> ValueError:
    return ValueError(
        "`query_variance` must have shape (..., 3, 1) or (..., 3, 2), a variance for each query or "
        f"for each of its modes, got {got}."
    )


SHARE = "Pass the share of a row's weight that may be left out, 0 for none of it."


def not_an_implementation(got: str) -> ValueError:
    return unlike("implementation", LISTED, got)


def not_an_option(got: str) -> TypeError:
    return unknown_option(
        "`weighting`, `inverse_temperature`, `query_times`, `key_times`, `causal`, `mask`, "
        "`anchor`, `layout`, `correlated`, `query_variance`, `tolerance`",
        got,
    )


GOOD = {**{name: normal(3, 4) for name in ("query", "key", "value")}, "sde": isotropic()}

TOKENS = [
    ({"query": [[1.0, 2.0]]}, not_an_array("query", "list")),
    ({"key": None}, not_an_array("key", "NoneType")),
    ({"value": 1.0}, not_an_array("value", "float")),
    (
        {"query": np.ma.masked_array(ones(3, 4))},
        not_an_array("query", "MaskedArray", "Fill it, and pass its mask as a mask."),
    ),
    ({"key": foreign(3, 4)}, two_libraries("key", "query")),
    ({"query": ones(3, 4, dtype="int64")}, not_floating("query", "int64")),
    ({"key": ones(3, 4, dtype="bool")}, not_floating("key", "bool")),
    (
        {name: ones(3, 2, dtype="complex128") for name in ("query", "key")},
        two_kinds("value", "complex like `query`", "float64"),
    ),
    (
        {"value": ones(3, 2, dtype="complex128")},
        two_kinds("value", "real like `query`", "complex128"),
    ),
    ({"query": ones()}, not_tokens("query", ())),
    ({"query": ones(4)}, not_tokens("query", (4,))),
    ({"key": ones(4)}, not_tokens("key", (4,))),
    ({"value": ones(3)}, not_tokens("value", (3,))),
    ({"query": ones(3, 0), "key": ones(3, 0)}, not_tokens("query", (3, 0))),
    ({"value": ones(3, 0)}, not_tokens("value", (3, 0))),
    ({"query": ones(3, 3), "key": ones(3, 3)}, odd_channels("query", (3, 3))),
    ({"value": ones(3, 5)}, odd_channels("value", (3, 5))),
    ({"key": ones(3, 6)}, wrong_shape("key", "(..., 4)", "the channels of `query`", (3, 6))),
    ({"value": ones(1, 4)}, wrong_shape("value", "(..., 3, 4)", "the tokens of `key`", (1, 4))),
    (
        {"sde": diagonal(), "value": ones(3, 6)},
        wrong_shape("value", "(..., 4)", "`query`: all share the modes", (3, 6)),
    ),
    ({"query": ones(2, 3, 4), "key": ones(5, 3, 4)}, leading_axes("`query` (2,), `key` (5,)")),
]

MASK = [
    ({"mask": [[True]]}, not_an_array("mask", "list")),
    ({"mask": True}, not_an_array("mask", "bool")),
    ({"mask": foreign(3, 3, dtype="bool")}, two_libraries("mask", "query")),
    ({"mask": ones(3, 3, dtype="int64")}, not_boolean("int64")),
    ({"mask": ones(3, 3)}, not_boolean("float64")),
    ({"mask": ones(2, 3, dtype="bool")}, wrong_mask((2, 3))),
    ({"mask": ones(2, dtype="bool")}, wrong_mask((2,))),
    (
        {"query": ones(2, 3, 4), "mask": ones(5, 3, 3, dtype="bool")},
        leading_axes("`query` (2,), `mask` (5,)"),
    ),
    ({"causal": 1}, not_causal("1")),
    ({"causal": None}, not_causal("None")),
    ({"causal": np.True_}, not_causal("np.True_")),
]

CORRELATED = [
    ({"correlated": 1}, TypeError("`correlated` must be True or False, got 1. Convert it.")),
    (
        {"correlated": True, "tolerance": "small"},
        TypeError(f"`tolerance` must be a number or None, got str. {SHARE}"),
    ),
    (
        {"correlated": True, "tolerance": True},
        TypeError(f"`tolerance` must be a number or None, got bool. {SHARE}"),
    ),
    *(
        (
            {"correlated": True, "tolerance": x},
            ValueError(f"`tolerance` must be finite and at least 0, got {x!r}. {SHARE}"),
        )
        for x in (-1e-6, float("inf"), float("nan"))
    ),
    (
        {"tolerance": 1e-6},
        ValueError(
            "`tolerance` must be None without `correlated`, got 1e-06: the weight of far keys that "
            "are independent has no bound. Leave it out, or pass correlated=True."
        ),
    ),
    ({"correlated": True, "mask": ones(3, 3, dtype="bool")}, one_mask_for_all((3, 3))),
    ({"correlated": True, "mask": ones(2, 3, 1, dtype="bool")}, one_mask_for_all((2, 3, 1))),
    ({"correlated": True, "mask": ones(2, dtype="bool")}, wrong_mask((2,))),
    ({"query_variance": [1.0]}, not_an_array("query_variance", "list")),
    ({"query_variance": 1.0}, not_an_array("query_variance", "float")),
    ({"query_variance": ones(3, dtype="int64")}, not_real("query_variance", "int64")),
    ({"query_variance": foreign(3)}, two_libraries("query_variance", "query")),
    (
        {"query_variance": ones(4)},
        wrong_shape("query_variance", "(..., 3)", "the tokens of `query`", (4,)),
    ),
    (
        {"query": ones(2, 3, 4), "query_variance": ones(5, 3)},
        leading_axes("`query` (2,), `query_variance` (5,)"),
    ),
    (
        {"query_variance": afa.RadialTangential(ones(3), ones(3))},
        not_an_array("query_variance", "RadialTangential"),
    ),
    ({"sde": diagonal(), "query_variance": ones(3)}, no_variance_per_mode((3,))),
    ({"sde": diagonal(), "query_variance": ones(3, 3)}, no_variance_per_mode((3, 3))),
    (
        {"sde": radial_tangential(), "query_variance": ones(3)},
        TypeError(
            "`query_variance` must be of type RadialTangential, got an array. Construct one."
        ),
    ),
    (
        {
            "sde": radial_tangential(),
            "query_variance": afa.RadialTangential(ones(3), ones(2)),
        },
        wrong_shape("query_variance.tangential", "(..., 3)", "the tokens of `query`", (2,)),
    ),
]

TIMES = [
    ({"key_times": [0.0, 1.0, 2.0]}, not_an_array("key_times", "list")),
    ({"key_times": ones(3, dtype="bool")}, not_times("key_times", "bool")),
    ({"key_times": ones(3, dtype="uint8")}, not_times("key_times", "uint8")),
    ({"query_times": ones(3, dtype="complex64")}, not_times("query_times", "complex64")),
    (
        {"query_times": ones(4)},
        wrong_shape("query_times", "(..., 3)", "the tokens of `query`", (4,)),
    ),
    ({"key_times": ones(1)}, wrong_shape("key_times", "(..., 3)", "the tokens of `key`", (1,))),
    ({"key_times": ones()}, wrong_shape("key_times", "(..., 3)", "the tokens of `key`", ())),
    (
        {"query": ones(2, 3, 4), "key_times": ones(5, 3)},
        leading_axes("`query` (2,), `key_times` (5,)"),
    ),
    (
        {"query": ones(2, 4), "query_times": ones(2)},
        missing("key_times", " with 2 queries and 3 keys."),
    ),
    (
        {"query": ones(5, 4), "key_times": ones(3)},
        missing("query_times", " with 5 queries and 3 keys."),
    ),
]

MODEL = [
    ({"sde": None}, not_an_sde("NoneType")),
    ({"sde": (0.1, 1.0, NOISE)}, not_an_sde("tuple")),
    ({"sde": afa.IsotropicSDE}, not_an_sde("type")),
    ({"sde": ones(3)}, not_an_sde("an array")),
    ({"sde": isotropic(decay=None)}, not_a_number("sde.decay", "NoneType")),
    ({"sde": isotropic(decay=[0.1])}, not_a_number("sde.decay", "list")),
    ({"sde": isotropic(decay=True)}, not_a_number("sde.decay", "bool")),
    ({"sde": isotropic(decay=NOISE)}, not_a_number("sde.decay", "Noise")),
    ({"sde": isotropic(decay=0.1 + 1j)}, not_a_number("sde.decay", "complex")),
    ({"sde": diagonal(decay=ones(2, dtype="complex128"))}, not_real("sde.decay", "complex128")),
    ({"sde": isotropic(decay=ones(1, dtype="int64"))}, not_real("sde.decay", "int64")),
    ({"sde": isotropic(decay=foreign(1))}, two_libraries("sde.decay", "query")),
    (
        {"query": ones(2, 3, 4), "sde": isotropic(decay=ones(5))},
        leading_axes("`query` (2,), `sde.decay` (5,)"),
    ),
    ({"sde": isotropic(frequency=None)}, not_a_number("sde.frequency", "NoneType")),
    (
        {"sde": isotropic(frequency=ones(3))},
        wrong_shape("sde.frequency", "(..., 2)", "the modes of `query`", (3,)),
    ),
    (
        {"sde": isotropic(frequency=ones(1))},
        wrong_shape("sde.frequency", "(..., 2)", "the modes of `query`", (1,)),
    ),
    ({"sde": isotropic(value_frequency="off")}, not_a_number("sde.value_frequency", "str")),
    (
        {"sde": isotropic(value_frequency=ones(3))},
        wrong_shape("sde.value_frequency", "(..., 2)", "the modes of `value`", (3,)),
    ),
    (
        {"value": ones(3, 6)},
        missing(
            "sde.value_frequency",
            " with 3 modes in `value` and 2 in `query`: pass one frequency a mode, or 0.0.",
        ),
    ),
    ({"anchor": ones(3, 4)}, superfluous_anchor("IsotropicSDE")),
    ({"sde": isotropic(noise=tuple(NOISE))}, not_a_noise("sde.noise", "tuple")),
    ({"sde": diagonal(noise=1.0)}, not_a_noise("sde.noise", "float")),
    ({"sde": isotropic(noise=ones(3))}, not_a_noise("sde.noise", "an array")),
    (
        {"sde": radial_tangential(tangential_noise=None)},
        not_a_noise("sde.tangential_noise", "NoneType"),
    ),
    ({"sde": isotropic(noise=noise(process=None))}, not_a_number("sde.noise.process", "NoneType")),
    ({"sde": isotropic(noise=noise(query=foreign(1)))}, two_libraries("sde.noise.query", "query")),
    (
        {"sde": diagonal(noise=noise(process=ones(3)))},
        wrong_shape("sde.noise.process", "(..., 2)", "the modes of `query`", (3,)),
    ),
]

ANCHOR = [
    ({"anchor": [[1.0]]}, not_an_array("anchor", "list")),
    ({"anchor": ones(3, 4, dtype="int32")}, not_floating("anchor", "int32")),
    (
        {"anchor": ones(3, 2, dtype="complex64")},
        two_kinds("anchor", "real like `query`", "complex64"),
    ),
    (
        {"query": ones(2, 4)},
        missing(
            "anchor",
            " with 2 queries and 3 keys: pass the direction of each query's estimate, "
            "(..., n, c_v).",
        ),
    ),
    ({"anchor": ones(2, 4)}, wrong_shape("anchor", "(..., 3, 4)", "the tokens of `query`", (2, 4))),
    ({"anchor": ones(3, 6)}, wrong_shape("anchor", "(..., 4)", "the channels of `value`", (3, 6))),
]

WEIGHTING = [
    ({"weighting": afa.StudentT}, not_a_weighting("type")),
    ({"weighting": "gaussian"}, not_a_weighting("str")),
    ({"weighting": None}, not_a_weighting("NoneType")),
    ({"weighting": afa.Rational(None)}, not_a_number("weighting.dof", "NoneType")),
    ({"weighting": afa.StudentT((4.0,))}, not_a_number("weighting.dof", "tuple")),
    ({"weighting": afa.StudentT(ones(1, dtype="int64"))}, not_real("weighting.dof", "int64")),
    ({"weighting": afa.StudentT(foreign(1))}, two_libraries("weighting.dof", "query")),
    (
        {"query": ones(2, 3, 4), "weighting": afa.StudentT(ones(5))},
        leading_axes("`query` (2,), `weighting.dof` (5,)"),
    ),
]

TEMPERATURE = [
    ({"inverse_temperature": None}, not_a_number("inverse_temperature", "NoneType")),
    ({"inverse_temperature": [1.0]}, not_a_number("inverse_temperature", "list")),
    ({"inverse_temperature": foreign(1)}, two_libraries("inverse_temperature", "query")),
    (
        {"query": ones(2, 3, 4), "inverse_temperature": ones(5)},
        leading_axes("`query` (2,), `inverse_temperature` (5,)"),
    ),
]

LAYOUT = [
    ({"layout": "interleave"}, not_a_layout("'interleave'")),
    ({"layout": None}, not_a_layout("None")),
    ({"layout": ["halves"]}, not_a_layout("['halves']")),
]

IMPLEMENTATION = [
    ({"implementation": "refrence"}, not_an_implementation("'refrence'")),
    ({"implementation": None}, not_an_implementation("None")),
    ({"implementation": ["auto"]}, not_an_implementation("['auto']")),
]

TILE = [({"tile": tile}, not_a_tile(repr(tile))) for tile in (0, -1, 2.0, True, "many")]

OPTIONS = [({name: 1.0}, not_an_option(name)) for name in ("temperature", "scale")]

CASES = [
    *bad_input(
        *(afa.attention, afa.estimate, afa.attention_weights, afa.explain),
        good=GOOD,
        rows=[*TOKENS, *MASK, *CORRELATED, *TIMES, *MODEL, *WEIGHTING, *TEMPERATURE, *LAYOUT],
    ),
    *bad_input(
        *(afa.attention, afa.estimate, afa.attention_weights, afa.explain),
        good={**GOOD, "sde": radial_tangential()},
        rows=ANCHOR,
    ),
    *bad_input(afa.attention, afa.estimate, afa.explain, good=GOOD, rows=IMPLEMENTATION),
    *bad_input(afa.attention, good=GOOD, rows=TILE),
    *bad_input(afa.estimate, afa.attention_weights, afa.explain, good=GOOD, rows=OPTIONS),
    *bad_input(
        afa.attention_weights,
        good=GOOD,
        rows=[({"implementation": "auto"}, not_an_option("implementation"))],
    ),
]
