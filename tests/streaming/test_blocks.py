"""The order of blocks, memory, range and single precision."""

import tracemalloc
from itertools import product

import numpy as np
import pytest

import afa_core as afa
from afa_core._array.masks import Visibility
from afa_core.streaming.blocks import Sizes, order_of_places, query_blocks

from .problems import FORMS, loss, outputs, problem, run, with_parameters


def test_a_nan_time_reaches_only_queries_that_attend_to_it(library, call):
    arguments = problem(library.from_numpy, n=8, leading=(1,))
    times, mask = np.arange(8.0), np.ones((8, 8), dtype=bool)
    times[1] = np.nan
    mask[[1, 5, 7], 1] = False
    arguments |= {
        "mask": library.from_numpy(mask),
        "key_times": library.from_numpy(times),
        "query_times": library.from_numpy(np.arange(8.0) + 0.1),
    }
    with np.errstate(invalid="ignore"):
        result = call(run, arguments)
    known = [np.isfinite(library.to_numpy(x)) for x in (result.mean[..., 0], result.precision)]
    for each in known:
        np.testing.assert_array_equal(each, [[True, True, False, False, False, True, False, True]])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(40, 40), (33, 40), (40, 33), (7, 50), (50, 7)])
def test_key_blocks_are_needed_by_consecutive_query_blocks(queries, keys, causal):
    """What is cached of a key block can be evicted after its last query block."""
    gone, before, covered = set(), set(), []
    visibility = Visibility(queries, keys, causal, None)
    for rows, found in query_blocks(visibility, Sizes(4, 12), order_of_places(visibility)):
        gone |= before - set(found)
        before = set(found)
        assert not gone & before
        covered.append((rows, sorted(each for block in found for each in block.columns)))
    for rows, columns in covered:
        last = min(max(rows.stop + keys - queries, 0), keys)
        assert columns == list(range(last if causal else keys))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_memory_grows_as_the_tokens(host, form, causal):
    """Twice the tokens take twice the memory, where pairs would take four times."""
    host("numpy")

    def peak(n):
        arguments = problem(np.asarray, form, n=n, leading=(1,), modes=4, dtype="float32")
        del arguments["mask"]
        tracemalloc.start()
        afa.attention(**arguments | {"causal": causal}, implementation="streaming", tile=64)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(1024), peak(2048)
    assert large < 2.3 * small
    assert large < 2048**2 * 4 / 2  # half an array of pairs


@pytest.mark.parametrize("form", FORMS)
def test_weights_out_of_range_compare(host, form):
    """Powers of weights that would vanish in single precision give way to logarithms."""
    host("numpy")
    arguments = problem(np.asarray, form, dtype="float32")
    arguments["query"] = 1e6 * arguments["query"]
    mean = run(arguments).mean
    assert np.abs(mean).max() > 0.1
    np.testing.assert_allclose(mean, run(arguments, "reference").mean, rtol=0.0, atol=2e-5)


SPAN = 600
LENGTHS = (1e-6, 1e-3, 1.0, 30.0, 5000.0)


@pytest.mark.parametrize(
    ("name", "form", "length", "weighting"),
    [
        *product(["torch"], FORMS, LENGTHS, [afa.StudentT(4.0)]),
        *product(["torch"], FORMS, LENGTHS[::2], [afa.Rational(4.0), afa.Gaussian()]),
        ("jax", "isotropic", 5000.0, afa.StudentT(4.0)),
    ],
)
def test_single_precision(name, form, length, weighting, host):
    """Outputs to 2e-6 and gradients to 2e-5, for every product of decay and span."""
    backend = host(name)
    compiled = backend.compile if name == "jax" else lambda function: function

    def case(dtype, implementation):
        def array(x):
            return backend.from_numpy(np.asarray(x, dtype))

        arguments = problem(array, form, n=SPAN, leading=(1,), modes=8)
        del arguments["mask"]
        found = [arguments.pop(name) for name in ("query", "key", "value")]
        sde = arguments.pop("sde")
        shape = tuple(sde.decay.shape)
        values = [length / SPAN, *((0.05, 0.7, 0.9) if form == "radial_tangential" else ())]
        found += [array(np.full(shape, x)) for x in (*values, 0.02, 1.0, 0.5)]

        def estimate(query, key, value, *parameters):
            changed = with_parameters(sde, parameters)
            chosen = {"weighting": weighting, "implementation": implementation}
            return afa.estimate(query, key, value, changed, **chosen)

        def gradients(*arrays):
            return backend.grad(lambda *x: loss(estimate(*x)), *arrays)

        results = (compiled(each)(*found) for each in (lambda *x: outputs(estimate(*x)), gradients))
        return [[np.float64(backend.to_numpy(x)) for x in each] for each in results]

    exact, own = case("float64", "reference"), case("float32", "streaming")
    for tolerance, found, expected in zip((2e-6, 2e-5), own, exact, strict=True):
        for a, b in zip(found, expected, strict=True):
            assert abs(a - b).max() <= tolerance * abs(b).max()
