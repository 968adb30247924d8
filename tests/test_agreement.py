"""One problem, four array libraries, one result: to 1e-12 in double and 2e-6 in single precision.

NumPy's float64 is the measure. JAX computes each problem in one piece, as users would.
"""

import numpy as np
import pytest

import afa_core as afa

FORMS = ("isotropic", "diagonal", "radial-tangential")
WEIGHTINGS = (afa.StudentT(3.0), afa.Gaussian(), afa.Rational(2.0), afa.Uniform())
OTHERS = ("torch", "jax", "array_api_strict")

# Every row a problem: weighting, causal, masked, layout, times, number of queries and keys.
PROBLEMS = [
    (WEIGHTINGS[0], True, False, "interleaved", "default", (6, 6)),
    (WEIGHTINGS[1], False, False, "halves", "irregular", (6, 6)),
    (WEIGHTINGS[2], True, True, "complex", "irregular", (3, 6)),
    (WEIGHTINGS[3], False, True, "interleaved", "integer", (6, 4)),
    (WEIGHTINGS[0], False, True, "complex", "shifted", (6, 6)),
    (WEIGHTINGS[1], True, True, "halves", "integer", (6, 6)),
]
problems = pytest.mark.parametrize(
    "problem", PROBLEMS, ids=lambda p: f"{type(p[0]).__name__}-{p[3]}-{p[4]}"
)
forms = pytest.mark.parametrize("form", FORMS)


def arguments(form, problem, precision):
    """The arguments of a problem with two heads, as a tree of NumPy arrays of that precision."""
    weighting, causal, masked, layout, times, (n, m) = problem
    rng = np.random.default_rng(3)

    def real(x):
        return np.asarray(x, precision)

    def tokens(count):
        x = rng.standard_normal((2, count, 8))
        if layout == "complex":
            return (x[..., :4] + 1j * x[..., 4:]).astype(np.result_type(precision, "complex64"))
        return real(x)

    def positive(low=0.2):
        return real(rng.uniform(low, 1.5, (2, 4) if form == "diagonal" else (2,)))

    def noise():
        return afa.Noise(positive(), positive(), positive())

    decay, frequency = positive(0.0), real(rng.standard_normal((2, 4)))
    if form == "isotropic":
        sde = afa.IsotropicSDE(decay, frequency, noise(), real(rng.standard_normal((2, 4))))
    elif form == "diagonal":
        sde = afa.DiagonalSDE(decay, frequency, noise())
    else:
        sde = afa.RadialTangentialSDE(decay, frequency, noise(), noise())
    given = {
        "query": tokens(n),
        "key": tokens(m),
        "value": tokens(m),
        "sde": sde,
        "weighting": weighting,
        "inverse_temperature": real([0.7, 1.3]),
        "causal": causal,
    }
    if form == "radial-tangential" and n != m:
        given["anchor"] = tokens(n)
    if layout == "halves":
        given["layout"] = layout
    if masked:
        given["mask"] = rng.random((n, m)) < 0.7
        given["mask"][1] = False
    steps = np.cumsum(rng.integers(0, 9, max(n, m)) / 8.0)
    if times == "integer":
        steps = np.cumsum(rng.integers(0, 3, max(n, m)))
    if times == "shifted":
        steps = steps + 1e9
    if times != "default":
        given |= {"query_times": steps[-n:] + (times == "irregular") / 16, "key_times": steps[-m:]}
    return given


def converted(tree, convert):
    """The tree with its NumPy arrays converted."""
    if isinstance(tree, dict):
        return {name: converted(x, convert) for name, x in tree.items()}
    if isinstance(tree, tuple):
        return type(tree)(*(converted(x, convert) for x in tree))
    return convert(tree) if isinstance(tree, np.ndarray) else tree


def flat(tree):
    return [leaf for each in tree for leaf in flat(each)] if isinstance(tree, tuple) else [tree]


def run(backend, given):
    """Every result on one library, as NumPy arrays."""
    moved = converted(given, backend.from_numpy)

    def everything():
        return (*afa.estimate(**moved), afa.attention_weights(**moved))

    results = backend.compile(everything)() if backend.name == "jax" else everything()
    return [backend.to_numpy(leaf) for leaf in flat(results)]


def compare(results, measure, tolerance):
    """Differences relative to the largest number of each array."""
    for result, exact in zip(results, measure, strict=True):
        assert result.shape == exact.shape
        scale = np.abs(exact).max()
        np.testing.assert_allclose(result, exact, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", OTHERS)
@forms
@problems
def test_double_precision(form, problem, name, host):
    given = arguments(form, problem, "float64")
    results = run(host(name), given)
    assert all(each.dtype in (np.float64, np.complex128) for each in results)
    compare(results, run(host("numpy"), given), 1e-12)


@pytest.mark.parametrize("name", ["numpy", *OTHERS])
@forms
@problems
def test_single_precision(form, problem, name, host):
    """Against the same numbers in double precision: libraries then agree to twice that."""
    given = arguments(form, problem, "float32")
    results = run(host(name), given)
    assert all(each.dtype in (np.float32, np.complex64) for each in results)
    exact = converted(
        given, lambda x: x.astype(np.result_type(x, "float64")) if x.dtype.kind in "fc" else x
    )
    compare(results, run(host("numpy"), exact), 2e-6)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("numpy", "float16"),
        ("torch", "float16"),
        ("torch", "bfloat16"),
        ("jax", "bfloat16"),
        ("jax", "float16"),
    ],
)
@forms
def test_half_precision_is_computed_in_single_and_cast_back(form, name, dtype, host):
    """To one rounding the result of casting to float32, attending, and casting back."""
    backend = host(name)
    given = arguments(form, PROBLEMS[0], "float32")

    def cast(x, dtype):
        if name == "torch":
            return x.to(getattr(pytest.importorskip("torch"), dtype))
        return x.astype(dtype)

    moved = converted(given, lambda x: cast(backend.from_numpy(x), dtype))
    widened = {n: converted_leaves(x, lambda leaf: cast(leaf, "float32")) for n, x in moved.items()}
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


def converted_leaves(tree, convert):
    """The tree with the arrays of any library converted."""
    if isinstance(tree, tuple):
        return type(tree)(*(converted_leaves(x, convert) for x in tree))
    return convert(tree) if hasattr(tree, "dtype") else tree


@forms
def test_layouts_are_three_ways_to_write_the_same_modes(form, library, call):
    given = arguments(form, PROBLEMS[2], "float64")
    modes = ("query", "key", "value", "anchor")

    def written(write):
        return {n: write(x) if n in modes else x for n, x in given.items()}

    def interleave(z):
        return np.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:-1], 8)

    def halve(z):
        return np.concatenate([z.real, z.imag], axis=-1)

    def result(given, **options):
        moved = converted(given, library.from_numpy)
        return library.to_numpy(call(afa.attention, **moved, **options))

    exact = result(given)
    for write, layout in ((interleave, "interleaved"), (halve, "halves")):
        found = result(written(write), layout=layout)
        np.testing.assert_allclose(found, write(exact), rtol=1e-12, atol=1e-14)


@forms
def test_parameters_of_another_precision_widen_nothing(form, library, call):
    """Double-precision parameters are cast to the tokens' single precision, the angles' aside."""
    given = arguments(form, PROBLEMS[0], "float32")
    names = ("sde", "inverse_temperature")
    wider = given | {n: converted(given[n], lambda x: x.astype("float64")) for n in names}
    narrow, wide = (
        call(afa.estimate, **converted(each, library.from_numpy)) for each in (given, wider)
    )
    for a, b in zip(flat(narrow), flat(wide), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(library.to_numpy(a), library.to_numpy(b), rtol=1e-6)
