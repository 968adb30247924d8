"""Which problems kernels of Pallas take, how they are chosen, and how they are compiled."""

import numpy as np
import pytest

import afa_core as afa

jax = pytest.importorskip("jax")

from afa_core.streaming.blocks import Sizes  # noqa: E402
from afa_jax.pallas.engine import backward, forward  # noqa: E402
from afa_jax.streaming import Program  # noqa: E402
from afa_jax.streaming import forward as in_loops  # noqa: E402

from ..problems import streamed  # noqa: E402

NOISE = afa.Noise(0.1, 1.0, 1.0)
SDE = afa.IsotropicSDE(0.1, 0.3, NOISE)


def tokens(shape=(40, 4), seed=0):
    rng = np.random.default_rng(seed)
    return [jax.numpy.asarray(rng.standard_normal(shape), "float32") for _ in range(3)]


def test_interpreted_kernels_are_not_chosen():
    given = tokens()
    assert afa.explain(*given, SDE).chosen != "pallas"
    assert "interpreted" in afa.explain(*given, SDE).others["pallas"]
    named = afa.explain(*given, SDE, implementation="pallas")
    assert named.chosen == "pallas"
    assert not named.derivatives


def test_refusals():
    given, wide = tokens(), tokens((8, 258))
    diagonal = afa.DiagonalSDE(jax.numpy.ones(2), jax.numpy.ones(2), NOISE)
    both = afa.RadialTangentialSDE(0.1, 0.3, NOISE, NOISE)
    cases = [(given, diagonal, "not a DiagonalSDE"), (given, both, "not a RadialTangentialSDE")]
    cases += [(wide, SDE, "at most 128 modes, not 129")]
    for arrays, sde, reason in cases:
        with pytest.raises(ValueError, match=reason):
            afa.attention(*arrays, sde, implementation="pallas")
    with jax.enable_x64(True), pytest.raises(ValueError, match="not in double"):
        afa.attention(*(x.astype("float64") for x in given), SDE, implementation="pallas")


def test_derivatives_of_every_kind():
    """Of second order and in forward mode those of loops; the first in half precision too."""
    given = tokens()

    def total(step, dtype, implementation):
        arrays = [(step * x).astype(dtype) for x in given]
        mean = afa.attention(*arrays, SDE, implementation=implementation)
        return (mean.astype("float32") ** 2).sum()

    def derivatives(dtype, implementation):
        def own(step):
            return total(step, dtype, implementation)

        return [
            jax.jit(each) for each in (jax.grad(own), jax.jacfwd(own), jax.jacfwd(jax.grad(own)))
        ]

    expected = [each(1.0) for each in derivatives("float32", "reference")]
    for found, right in zip(derivatives("float32", "pallas"), expected, strict=True):
        np.testing.assert_allclose(found(1.0), right, rtol=1e-5)
    in_half_precision = derivatives("bfloat16", "pallas")[0]
    np.testing.assert_allclose(in_half_precision(1.0), expected[0], rtol=3e-2)


def test_mapped():
    query, key, value = tokens((3, 20, 4))

    def run(implementation):
        def one(query, key):
            return afa.attention(query, key, value[0], SDE, implementation=implementation)

        return jax.vmap(one)(query, key)

    np.testing.assert_allclose(run("pallas"), run("reference"), rtol=1e-5, atol=1e-6)


def traced(case, dtype="float32"):
    """Return functions traced for a GPU, forward and backward, with their arguments."""
    operands, static = streamed(case, 37, 37)
    operands = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), operands)
    operands = operands._replace(
        **{name: getattr(operands, name).astype(dtype) for name in ("query", "key", "value")}
    )
    if static.directions:
        static = static._replace(tolerance=1e-3)
    program, mask = Program.of(static, Sizes(64, 64), return_precision=True), static.visibility.mask
    result = jax.eval_shape(lambda x, mask: forward(False, program, x, mask), operands, mask)
    both = [
        (lambda *given: forward(False, program, *given), (operands, mask)),
        (lambda *given: backward(False, program, *given), (operands, mask, result, *result[:2])),
    ]
    return program, both


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("default", "bfloat16"),
        ("unordered", "float32"),
        ("correlated", "bfloat16"),
        ("smoother of a temperature", "float32"),
    ],
)
def test_kernels_compile_for_a_gpu(case, dtype):
    """From what they compute to Triton's operations, without a GPU."""
    for function, given in traced(case, dtype)[1]:
        lowered = jax.jit(function).trace(*given).lower(lowering_platforms=("cuda",))
        assert "triton" in lowered.as_text()


def test_a_program_for_a_gpu_runs_loops_elsewhere():
    program, ((function, given), _) = traced("default")
    assert "triton" not in jax.jit(function).lower(*given).as_text()
    found, right = function(*given), in_loops(program, *given)
    np.testing.assert_allclose(found.mean, right.mean, rtol=1e-5, atol=1e-6)
