"""One problem, four array libraries, one result: to 1e-12 in double and 2e-6 in single precision.

The exact result is NumPy's in float64. JAX compiles each problem in one piece, as users do.
"""

from typing import NamedTuple

import numpy as np
import pytest

import afa_core as afa

FORMS = ("isotropic", "diagonal", "radial-tangential")
OTHERS = ("torch", "jax", "array_api_strict")


class Problem(NamedTuple):
    """What a problem is made of; `tokens` are the numbers of queries and of keys."""

    weighting: afa.StudentT | afa.Gaussian | afa.Rational | afa.Uniform
    causal: bool
    masked: bool
    layout: str
    times: str
    tokens: tuple[int, int]


PROBLEMS = [
    Problem(afa.StudentT(3.0), True, False, "interleaved", "default", (6, 6)),
    Problem(afa.Gaussian(), False, False, "halves", "irregular", (6, 6)),
    Problem(afa.Rational(2.0), True, True, "complex", "irregular", (3, 6)),
    Problem(afa.Uniform(), False, True, "interleaved", "integer", (6, 4)),
    Problem(afa.StudentT(3.0), False, True, "complex", "shifted", (6, 6)),
    Problem(afa.Gaussian(), True, True, "halves", "integer", (6, 6)),
]
problems = pytest.mark.parametrize(
    "problem", PROBLEMS, ids=lambda p: f"{type(p.weighting).__name__}-{p.layout}-{p.times}"
)
forms = pytest.mark.parametrize("form", FORMS)


def model(form, dtype, rng):
    """A model of two heads, all parameters arrays."""

    def positive(low=0.2):
        return np.asarray(rng.uniform(low, 1.5, (2, 4) if form == "diagonal" else (2,)), dtype)

    def frequencies():
        return np.asarray(rng.standard_normal((2, 4)), dtype)

    def noise():
        return afa.Noise(positive(), positive(), positive())

    decay, frequency = positive(0.0), frequencies()
    if form == "isotropic":
        return afa.IsotropicSDE(decay, frequency, noise(), frequencies())
    if form == "diagonal":
        return afa.DiagonalSDE(decay, frequency, noise())
    return afa.RadialTangentialSDE(decay, frequency, noise(), noise())


def tokens(count, layout, dtype, rng):
    """Tokens of two heads with four modes."""
    x = rng.standard_normal((2, count, 8))
    if layout == "complex":
        return (x[..., :4] + 1j * x[..., 4:]).astype(np.result_type(dtype, "complex64"))
    return np.asarray(x, dtype)


def times_of(problem, rng):
    """The times of queries and keys; none where they have their default."""
    n, m = problem.tokens
    times = np.cumsum(rng.integers(0, 9, max(n, m)) / 8.0)
    if problem.times == "integer":
        times = np.cumsum(rng.integers(0, 3, max(n, m)))
    if problem.times == "shifted":
        times = times + 1e9
    if problem.times == "default":
        return {}
    later = 1 / 16 if problem.times == "irregular" else 0.0
    return {"query_times": times[-n:] + later, "key_times": times[-m:]}


def arguments_of(form, problem, dtype):
    """The arguments of a problem, as a tree of NumPy arrays."""
    n, m = problem.tokens
    rng = np.random.default_rng(3)
    arguments = {
        "sde": model(form, dtype, rng),
        "query": tokens(n, problem.layout, dtype, rng),
        "key": tokens(m, problem.layout, dtype, rng),
        "value": tokens(m, problem.layout, dtype, rng),
        "weighting": problem.weighting,
        "inverse_temperature": np.asarray([0.7, 1.3], dtype),
        "causal": problem.causal,
    }
    if form == "radial-tangential" and n != m:
        arguments["anchor"] = tokens(n, problem.layout, dtype, rng)
    if problem.layout == "halves":
        arguments["layout"] = "halves"
    if problem.masked:
        arguments["mask"] = rng.random((n, m)) < 0.7
        arguments["mask"][1] = False
    return arguments | times_of(problem, rng)


def converted(tree, convert):
    """The tree with its arrays converted."""
    if isinstance(tree, dict):
        return {name: converted(x, convert) for name, x in tree.items()}
    if isinstance(tree, tuple):
        return type(tree)(*(converted(x, convert) for x in tree))
    return convert(tree) if hasattr(tree, "dtype") else tree


def flat(tree):
    return [leaf for each in tree for leaf in flat(each)] if isinstance(tree, tuple) else [tree]


def results_of(backend, arguments):
    """Every result on one library, as NumPy arrays."""
    moved = converted(arguments, backend.from_numpy)

    def run():
        return (*afa.estimate(**moved), afa.attention_weights(**moved))

    results = backend.compile(run)() if backend.name == "jax" else run()
    return [backend.to_numpy(leaf) for leaf in flat(results)]


def assert_close(results, expected, tolerance):
    """Compare arrays relative to the largest number of each."""
    for result, exact in zip(results, expected, strict=True):
        assert result.shape == exact.shape
        scale = np.abs(exact).max()
        np.testing.assert_allclose(result, exact, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", OTHERS)
@forms
@problems
def test_double_precision(form, problem, name, host):
    arguments = arguments_of(form, problem, "float64")
    results = results_of(host(name), arguments)
    assert all(each.dtype in (np.float64, np.complex128) for each in results)
    assert_close(results, results_of(host("numpy"), arguments), 1e-12)


@pytest.mark.parametrize("name", ["numpy", *OTHERS])
@forms
@problems
def test_single_precision(form, problem, name, host):
    """Against the same numbers in double precision: two libraries differ by at most twice that."""
    arguments = arguments_of(form, problem, "float32")
    results = results_of(host(name), arguments)
    assert all(each.dtype in (np.float32, np.complex64) for each in results)
    exact = converted(
        arguments, lambda x: x.astype(np.result_type(x, "float64")) if x.dtype.kind in "fc" else x
    )
    assert_close(results, results_of(host("numpy"), exact), 2e-6)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *[("numpy", "float16"), ("torch", "float16"), ("torch", "bfloat16")],
        *[("jax", "bfloat16"), ("jax", "float16")],
    ],
)
@forms
def test_half_precision_is_computed_in_single_and_cast_back(form, name, dtype, host):
    """To one rounding the result of casting to float32, attending, and casting back."""
    backend = host(name)
    arguments = arguments_of(form, PROBLEMS[0], "float32")

    def cast(x, dtype):
        if name == "torch":
            return x.to(getattr(pytest.importorskip("torch"), dtype))
        return x.astype(dtype)

    moved = converted(arguments, lambda x: cast(backend.from_numpy(x), dtype))
    widened = converted(moved, lambda x: cast(x, "float32"))
    attend = afa.attention
    if name == "jax":
        result, single = backend.compile(lambda: (attend(**moved), attend(**widened)))()
    else:
        result, single = attend(**moved), attend(**widened)
    assert str(result.dtype).endswith(dtype)
    assert str(single.dtype).endswith("float32")
    found = backend.to_numpy(cast(result, "float32"))
    rounding = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    np.testing.assert_allclose(found, backend.to_numpy(single), rtol=rounding, atol=1e-6)
    if name != "jax":
        precision = flat(afa.estimate(**moved).precision)
        assert all(str(each.dtype).endswith("float32") for each in precision)


@forms
def test_layouts_are_the_same_modes_in_another_order(form, library, call):
    arguments = arguments_of(form, PROBLEMS[2], "float64")
    modes = ("query", "key", "value", "anchor")

    def in_layout(write):
        return {n: write(x) if n in modes else x for n, x in arguments.items()}

    def interleave(z):
        return np.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:-1], 8)

    def halve(z):
        return np.concatenate([z.real, z.imag], axis=-1)

    def result(arguments, **options):
        moved = converted(arguments, library.from_numpy)
        return library.to_numpy(call(afa.attention, **moved, **options))

    exact = result(arguments)
    for write, layout in ((interleave, "interleaved"), (halve, "halves")):
        found = result(in_layout(write), layout=layout)
        np.testing.assert_allclose(found, write(exact), rtol=1e-12, atol=1e-14)


@forms
def test_parameters_in_double_precision_do_not_widen_the_result(form, library, call):
    """They are cast to the tokens' single precision, all but those of angles."""
    arguments = arguments_of(form, PROBLEMS[0], "float32")
    names = ("sde", "inverse_temperature")
    wider = arguments | {n: converted(arguments[n], lambda x: x.astype("float64")) for n in names}
    narrow, wide = (
        call(afa.estimate, **converted(each, library.from_numpy)) for each in (arguments, wider)
    )
    for a, b in zip(flat(narrow), flat(wide), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(library.to_numpy(a), library.to_numpy(b), rtol=1e-6)
