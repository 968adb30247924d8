"""A random linear function of mean and precision, of which gradients are taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from afa_conformance.descriptions import Description
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles.double_sum import single
from afa_conformance.problems import DrawnProblem, completed, in_arrays, leaves, with_leaves
from afa_conformance.runner import arguments, parameter_dtype, parts, send, write_modes
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, RadialTangentialSDE

QUERY_DELAY = 0.3
"""From a token to its query, so that no lag is zero, where |Δ| has a kink."""


def differentiable(description: Description) -> DrawnProblem:
    """Return a problem without kinks, all of its numbers arrays: queries follow their tokens."""
    problem = completed(sample_problem(description))
    return in_arrays(replace(problem, query_times=problem.query_times + QUERY_DELAY))


@dataclass(frozen=True)
class Functional:
    """Re Σ conj(c)·mean + Σ b·precision, the latter if the subject has an `estimate`.

    Parameters
    ----------
    mean : ndarray
        c, (..., n, dv), complex.
    precision : ndarray
        b, (..., n, number of precisions a query has).
    """

    mean: NDArray[Any]
    precision: NDArray[Any]

    @classmethod
    def draw(cls, problem: DrawnProblem, rng: np.random.Generator) -> Functional:
        """Draw the factors for the results of a problem."""
        rows, components = (*problem.leading, problem.query.shape[-2]), 1
        if isinstance(problem.sde, DiagonalSDE):
            components = problem.modes
        elif isinstance(problem.sde, RadialTangentialSDE):
            components = 2
        mean = complex_normal(rng, (*rows, problem.value_modes))
        return cls(mean, rng.normal(size=(*rows, components)))

    def exact(self, problem: DrawnProblem, *, precision: bool) -> Any:
        """Return its value in 50 digits, with or without the term of the precision.

        For problems without leading axes.
        """
        result = single(problem)
        mean = sum(
            mp.re(mp.conj(mp.mpc(c)) * x)
            for c, x in zip(self.mean.ravel(), result.mean.ravel(), strict=True)
        )
        if not precision:
            return mean
        columns = parts(result.precision)
        per_query = columns[0] if columns[0].ndim == 2 else np.stack(columns, axis=-1)
        pairs = zip(self.precision.ravel(), per_query.ravel(), strict=True)
        return mean + sum(mp.mpf(b) * x for b, x in pairs)

    def factors(self, sent: DrawnProblem, subject: Subject) -> tuple[Any, ...]:
        """Return c and the b of each precision as arrays of the library."""
        dtype = np.dtype(parameter_dtype(sent))
        each = [self.precision]
        if isinstance(sent.sde, RadialTangentialSDE):
            each = [self.precision[..., component] for component in range(2)]
        elif not isinstance(sent.sde, DiagonalSDE):
            each = [self.precision[..., 0]]
        mean = write_modes(self.mean, sent.layout, dtype)
        return tuple(subject.from_numpy(x) for x in (mean, *(x.astype(dtype) for x in each)))


def gradients(
    problem: DrawnProblem, functional: Functional, subject: Subject
) -> dict[str, NDArray[Any]]:
    """Return the derivatives of a functional in all arrays but the mask, in real pairs."""
    grad, function = subject.grad, subject.estimate or subject.attention
    assert grad is not None
    sent = send(problem, subject)
    arrays = {name: x for name, x in leaves(sent).items() if not isinstance(x, float)}
    mask = arrays.pop("mask", None)
    names, factors = tuple(arrays), functional.factors(sent, subject)
    static = replace(with_leaves(sent, dict.fromkeys((*names, "mask"))), description=None)

    def derivatives(*given: Any) -> tuple[Any, ...]:
        changed, (mean, *others) = given[: len(names)], given[len(names) :]
        hidden = {} if mask is None else {"mask": others.pop()}

        def value(*changed: Any) -> Any:
            found = with_leaves(static, dict(zip(names, changed, strict=True)) | hidden)
            positional, options = arguments(found)
            results = function(*positional, **options)
            results = results if subject.estimate else (results, None)
            terms = zip((results[0], *parts(results[1])), (mean, *others), strict=False)
            return sum((x * factor).sum() for x, factor in terms)

        return grad(value, *changed)

    given = (*arrays.values(), *factors, *([] if mask is None else [mask]))
    kinds = type(sent.sde), type(sent.weighting), mask is None
    program = ("gradients", function, names, kinds, static)
    found = subject.evaluate(program, derivatives, *given)
    return {name: np.asarray(subject.to_numpy(x)) for name, x in zip(names, found, strict=True)}
