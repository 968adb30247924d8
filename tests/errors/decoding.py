"""Bad input to decoding step by step, and to attention over parts of the keys."""

from typing import Any

import afa_core as afa

from .cases import (
    Computed,
    array,
    bad_input,
    computed,
    diagonal,
    foreign,
    isotropic,
    normal,
    ones,
    radial_tangential,
)
from .messages import (
    leading_axes,
    missing,
    not_a_layout,
    not_an_array,
    not_an_sde,
    not_boolean,
    not_floating,
    not_times,
    not_together,
    odd_channels,
    of_type,
    superfluous_anchor,
    two_libraries,
    unknown_option,
    unlike,
    wrong_shape,
)

SHARE = "Pass the share of a row's weight that may be left out, 0 for none of it."
SDE = isotropic(frequency=array(0.3, -1.0))
TOKEN = normal(1, 4)
PROMPT = {"key": ones(3, 4), "value": ones(3, 4), "sde": SDE}
STEP = {"query": TOKEN, "key": TOKEN, "value": TOKEN, "sde": SDE}
KEYS = {name: ones(3, 4) for name in ("query", "key", "value")}
PART = {**KEYS, **{"sde": SDE, "query_times": ones(3), "key_times": ones(3)}}
TIMES = {"query_times": ones(3), "key_times": ones(3)}
ANCHORED = radial_tangential(frequency=array(0.3, -1.0), tangential_noise=afa.Noise(0.6, 1.0, 1.0))


def cache(**changes: Any) -> Computed:
    return computed(afa.DecodeCache.of, **{**PROMPT, **changes})


def foreign_cache(cache: afa.DecodeCache, key: Any) -> afa.DecodeCache:
    return cache._replace(key=key)


def part(**changes: Any) -> Computed:
    return computed(afa.partial_attention, **{**PART, **changes})


def influence(**changes: Any) -> Computed:
    return computed(afa.key_influence, **{**TIMES, "sde": SDE, **changes})


def of_other_library(times: Any) -> afa.KeyInfluence:
    return afa.key_influence(times, times, afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.2, 1.0, 1.0)))


def of_sequence(name: str) -> ValueError:
    return ValueError(
        f"`{name}` must be left out with `influence`, which contains it, got both. "
        "Pass it to `key_influence`, for the whole sequence."
    )


def no_tokens(name: str, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"`{name}` must have shape (..., tokens), with a key at least, got {shape}. "
        "Pass the time of each token."
    )


def no_room(tokens: int, used: str) -> ValueError:
    return ValueError(
        f"`cache` must have room for {tokens} more tokens, got {used} used. "
        "Make it with a larger `capacity`, or with None to let it grow."
    )


def other_keys(*, made: bool) -> ValueError:
    return ValueError(
        f"`correlated` must be {made} like that of `cache`, got {not made}. "
        "Pass the same to the cache when you make it and to every step."
    )


def other_filters(cached: int, kind: str, filters: int) -> ValueError:
    return ValueError(
        f"`sde` must be the one of `cache`, with {cached} filters, got {kind} with {filters}. "
        "Pass the same model to every step."
    )


def without_bound(got: str) -> ValueError:
    return ValueError(
        f"`tolerance` must be None without `correlated`, got {got}: the weight of far keys that "
        "are independent has no bound. Leave it out, or pass correlated=True."
    )


def unlike_queries(shape: tuple[int, ...], queries: int = 1) -> ValueError:
    return wrong_shape("query_variance", f"(..., {queries})", "the tokens of `query`", shape)


def not_a_capacity(got: str) -> ValueError:
    return unlike(
        "capacity",
        "a positive number of tokens or None",
        got,
        " Leave it out for a cache that grows.",
    )


def not_a_state(name: str, got: str) -> TypeError:
    return TypeError(
        f"`{name}` must be a PartialAttention, or a RadialTangential of two, got {got}. "
        "Make it with `partial_attention`."
    )


DECODE_STEP = [
    ({"cache": None}, of_type("cache", "DecodeCache", "NoneType")),
    ({"cache": (TOKEN, TOKEN)}, of_type("cache", "DecodeCache", "tuple")),
    (
        {"cache": computed(foreign_cache, cache=cache(), key=foreign(3, 4))},
        two_libraries("cache.key", "key"),
    ),
    ({"key": foreign(1, 4)}, two_libraries("key", "query")),
    (
        {"cache": cache(value=ones(3, 6), sde=SDE._replace(value_frequency=0.0))},
        ValueError(
            "`value` must have 3 modes like those in `cache`, got 2. "
            "Pass the cache that these tokens continue."
        ),
    ),
    (
        {"query": ones(5, 1, 4), "cache": cache(key=ones(2, 3, 4))},
        leading_axes("`query` (5,), `cache.key` (2,), `cache.value` (1,), `cache.times` (1,)"),
    ),
    ({"query": ones(2, 4)}, wrong_shape("query", "(..., 1, 4)", "the tokens of `key`", (2, 4))),
    (
        {name: ones(0, 4) for name in ("query", "key", "value")},
        ValueError("`key` must have a token at least, got shape (0, 4). Leave out the step."),
    ),
    ({"cache": cache(capacity=3)}, no_room(1, "3 of 3")),
    ({"layout": "quarters"}, not_a_layout("'quarters'")),
    ({"time": ones(2)}, wrong_shape("time", "(..., 1)", "the tokens of `key`", (2,))),
    (
        {**{name: ones(2, 4) for name in ("query", "key", "value")}, "time": 3.0},
        not_an_array("time", "float"),
    ),
    ({"time": ones(1, dtype="complex128")}, not_times("time", "complex128")),
    ({"mask": ones(1)}, not_boolean("float64", true="True is kept")),
    ({"mask": foreign(1, dtype="bool")}, two_libraries("mask", "key")),
    ({"anchor": TOKEN}, superfluous_anchor("IsotropicSDE")),
    ({"correlated": 1}, TypeError("`correlated` must be True or False, got 1. Convert it.")),
    ({"correlated": True}, other_keys(made=False)),
    ({"cache": cache(correlated=True)}, other_keys(made=True)),
    (
        {"correlated": True, "cache": cache(correlated=True), "sde": ANCHORED},
        other_filters(1, "RadialTangentialSDE", 2),
    ),
    (
        {"correlated": True, "cache": cache(correlated=True), "mask": ones(1, 1, dtype="int64")},
        not_boolean("int64", true="True is kept"),
    ),
    ({"query_variance": 1.0}, not_an_array("query_variance", "float")),
    ({"query_variance": ones(2)}, unlike_queries((2,))),
    ({"query_variance": foreign(1)}, two_libraries("query_variance", "query")),
    ({"tolerance": 1e-6}, without_bound("1e-06")),
    (
        {"tolerance": -1.0, "correlated": True, "cache": cache(correlated=True)},
        ValueError(f"`tolerance` must be finite and at least 0, got -1.0. {SHARE}"),
    ),
    (
        {"tolerance": "small", "correlated": True, "cache": cache(correlated=True)},
        TypeError(f"`tolerance` must be a number or None, got str. {SHARE}"),
    ),
]

ESTIMATE_STEP = [
    (
        {"causal": True},
        unknown_option(
            "`weighting`, `inverse_temperature`, `time`, `mask`, `anchor`, `layout`, `correlated`, "
            "`query_variance`, `tolerance`",
            "causal",
        ),
    ),
    ({"correlated": True}, other_keys(made=False)),
    ({"query_variance": ones(2)}, unlike_queries((2,))),
    ({"tolerance": 0.0}, without_bound("0.0")),
]

CACHE_OF = [
    ({"key": [[1.0, 2.0]]}, not_an_array("key", "list")),
    ({"key": ones(3, 4, dtype="int64")}, not_floating("key", "int64")),
    ({"key": ones(3, 3)}, odd_channels("key", (3, 3))),
    ({"times": ones(2)}, wrong_shape("times", "(..., 3)", "the tokens of `key`", (2,))),
    ({"capacity": 0}, not_a_capacity("0")),
    ({"capacity": ones(1)}, not_a_capacity("{capacity!r}")),
    ({"capacity": 2}, no_room(3, "0 of 2")),
    (
        {"correlated": "yes"},
        TypeError("`correlated` must be True or False, got 'yes'. Convert it."),
    ),
]

INDEPENDENT = ValueError(
    "`cache` must have correlated keys, got one without: the weight of old keys that are "
    "independent has no bound. Make it with correlated=True."
)

EVICT = [
    ({"cache": None}, of_type("cache", "DecodeCache", "NoneType")),
    ({"cache": cache()}, INDEPENDENT),
    ({"sde": None}, not_an_sde("NoneType")),
    (
        {"sde": ANCHORED},
        other_filters(1, "RadialTangentialSDE", 2),
    ),
    (
        {"tolerance": "small"},
        TypeError("`tolerance` must be a number between 0 and 1, got str. Convert it."),
    ),
    *(
        (
            {"tolerance": x},
            ValueError(f"`tolerance` must be between 0 and 1, got {x!r}. Correct it."),
        )
        for x in (0.0, 1, float("nan"))
    ),
    (
        {"norm": True},
        TypeError("`norm` must be a number positive and finite, got bool. Convert it."),
    ),
    ({"norm": -1.0}, ValueError("`norm` must be positive and finite, got -1.0. Correct it.")),
    (
        {"weighting": None},
        of_type("weighting", "StudentT or Gaussian or Rational or Uniform", "NoneType"),
    ),
]

EVICTED_SHARE = [
    ({"estimate": None}, of_type("estimate", "Estimate", "NoneType")),
    ({"cache": cache()}, INDEPENDENT),
]

PARTIAL_ATTENTION = [
    ({"key_times": None}, missing("key_times", ": a part of the keys has no default times.")),
    (
        {"sde": ANCHORED},
        missing(
            "anchor",
            ": pass the direction of each query's estimate, (..., n, c_v), the same to every part.",
        ),
    ),
]

PART_OF_SEQUENCE = [
    (
        {"influence": None},
        missing(
            "influence",
            ": gains belong to the whole sequence. Pass the part of `key_influence` that these "
            "queries and keys have.",
        ),
    ),
    ({"influence": SDE}, of_type("influence", "KeyInfluence", "IsotropicSDE")),
    (
        {"correlated": False},
        ValueError("`correlated` must be True with `influence`, got False. Pass both or neither."),
    ),
    ({"query_times": ones(3)}, of_sequence("query_times")),
    ({"causal": True}, of_sequence("causal")),
    ({"mask": ones(3, 3, dtype="bool")}, of_sequence("mask")),
    (
        {"query": ones(2, 4)},
        ValueError(
            "`influence` must be of 2 queries and 3 keys like `query` and `key`, got 3 and 3. "
            "Take the `part` of these tokens."
        ),
    ),
    (
        {"sde": ANCHORED, "anchor": ones(3, 4)},
        ValueError(
            "`influence` must be that of `sde`, with 2 filters, got 1. "
            "Pass the same model to `key_influence`."
        ),
    ),
    (
        {"query": ones(2, 3, 4), "influence": influence(key_mask=ones(5, 3, dtype="bool"))},
        leading_axes("`query, key and value` (2,), `influence` (5,)"),
    ),
    (
        {"influence": computed(of_other_library, times=foreign(3))},
        two_libraries("influence.key_level", "key"),
    ),
    ({"query_variance": ones(2)}, unlike_queries((2,), queries=3)),
]

KEY_INFLUENCE = [
    ({"sde": None}, not_an_sde("NoneType")),
    ({"query_times": None}, not_an_array("query_times", "NoneType")),
    ({"key_times": ones(3, dtype="complex128")}, not_times("key_times", "complex128")),
    ({"key_times": foreign(3)}, two_libraries("key_times", "query_times")),
    ({"key_times": ones()}, no_tokens("key_times", ())),
    ({"key_times": ones(0)}, no_tokens("key_times", (0,))),
    ({"key_mask": [True] * 3}, not_an_array("key_mask", "list")),
    ({"key_mask": ones(3)}, not_boolean("float64", name="key_mask")),
    (
        {"key_mask": ones(2, dtype="bool")},
        wrong_shape("key_mask", "(..., 3)", "the tokens of `key_times`", (2,)),
    ),
    ({"causal": 1}, TypeError("`causal` must be True or False, got 1. Convert it.")),
    (
        {"key_mask": ones(2, 3, dtype="bool"), "sde": isotropic(decay=ones(5))},
        leading_axes("`key_mask` (2,), `sde.decay` (5,)"),
    ),
    (
        {"sde": diagonal(decay=ones(2), noise=afa.Noise(ones(3), 1.0, 1.0))},
        wrong_shape("sde.decay", "(..., 3)", "the modes of `sde.noise.process`", (2,)),
    ),
]

MERGE = [
    ({"b": None}, not_a_state("b", "NoneType")),
    (
        {"b": part(sde=ANCHORED, anchor=ones(3, 4))},
        TypeError(
            "`b` must be a PartialAttention like `a`, got RadialTangential. "
            "Use the same `sde` for both."
        ),
    ),
    (
        {"b": part(query=ones(2, 4), query_times=ones(2))},
        not_together("the two states", "`a.peak` (3, 1), `b.peak` (2, 1)"),
    ),
    (
        {
            "b": computed(
                afa.partial_attention,
                **KEYS,
                **{"sde": SDE, "correlated": True, "influence": influence(causal=False)},
            )
        },
        ValueError(
            "`a` and `b` must be parts of one sequence, got one with a prior and one without. "
            "Pass parts of the same `influence` to both."
        ),
    ),
]

ESTIMATE = computed(afa.estimate, **PROMPT, query=ones(3, 4))

CASES = [
    *bad_input(afa.decode_step, good={**STEP, "cache": cache()}, rows=DECODE_STEP),
    *bad_input(afa.estimate_step, good={**STEP, "cache": cache()}, rows=ESTIMATE_STEP),
    *bad_input(afa.DecodeCache.of, good=PROMPT, rows=CACHE_OF),
    *bad_input(
        afa.DecodeCache.empty,
        good={**PROMPT, "value": TOKEN},
        rows=[({"key": [[1.0, 2.0]]}, not_an_array("key", "list"))],
    ),
    *bad_input(
        afa.evict,
        good={"cache": cache(correlated=True), "sde": SDE, "tolerance": 0.1},
        rows=EVICT,
    ),
    *bad_input(
        afa.evicted_share,
        good={"estimate": ESTIMATE, "cache": cache(correlated=True), "sde": SDE},
        rows=EVICTED_SHARE,
    ),
    *bad_input(afa.partial_attention, good=PART, rows=PARTIAL_ATTENTION),
    *bad_input(
        afa.partial_attention,
        good={**KEYS, "sde": SDE, "correlated": True, "influence": influence()},
        rows=PART_OF_SEQUENCE,
    ),
    *bad_input(afa.key_influence, good={**TIMES, "sde": SDE}, rows=KEY_INFLUENCE),
    *bad_input(afa.merge, good={"a": part()}, rows=MERGE),
    *bad_input(afa.finish, rows=[({"state": ESTIMATE}, not_a_state("state", "Estimate"))]),
]
