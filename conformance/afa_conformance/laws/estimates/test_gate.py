"""The gate g = p/(p + p₀) mixes the estimate with the token's own value (spec §10)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

import afa_core
from afa_conformance.closeness import SPACING
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, leaves, with_leaves
from afa_conformance.runner import call, fetch, parameter_dtype, parts, read, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, RadialTangential

pytestmark = pytest.mark.needs("library")


@pytest.mark.asserts
@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("prior", ["number", "modes", "each"])
@drawn(seed=st.integers(0, 2**32 - 1))
def test_share_of_the_precision(subject: Subject, prior: str, components: int, seed: int) -> None:
    """Spec §10: g = p/(p + p₀) for each precision, to 4 ε, at ratios of up to 200 decades."""
    rng = np.random.default_rng(seed)
    dtype = parameter_dtype(sample_problem(Description(dtype=subject.dtype)))
    spread = 100.0 if dtype == "float64" else 10.0
    precisions = [(10.0 ** rng.uniform(-spread, spread, (3, 3))).astype(dtype) for _ in "rt"]
    for p in precisions:
        p[0, 0] = 0.0
    shape = {"number": (), "modes": (3,), "each": (3, 3)}[prior]
    prior_precision = (10.0 ** rng.uniform(-spread, spread, shape)).astype(dtype)
    sent_prior = (
        float(prior_precision) if prior == "number" else subject.from_numpy(prior_precision)
    )
    sent = [subject.from_numpy(p) for p in precisions]
    got = afa_core.gate(RadialTangential(*sent) if components == 2 else sent[0], sent_prior)
    assert isinstance(got, RadialTangential) == (components == 2)
    for g, p in zip(parts(fetch(got, subject)), precisions, strict=False):
        with np.errstate(divide="ignore"):
            expected = 1.0 / (1.0 + prior_precision.astype(float) / p.astype(float))
        assert g.dtype == p.dtype
        assert np.all(np.abs(g - expected) <= 4 * SPACING[dtype] * expected)


@drawn(description=descriptions(queries=4, keys=4, masked=True))
def test_no_visible_keys_keep_the_value(subject: Subject, description: Description) -> None:
    """Spec §8.4, §10: without visible keys p = 0, so g = 0, and g x̂ + (1 − g)v is bitwise v."""
    problem = sample_problem(description)
    sent = send(problem, subject)
    mean, precision = call(afa_core.estimate, sent, subject)
    gates = parts(fetch(afa_core.gate(precision, 0.5), subject))
    estimate, value = (read(x, problem, subject) for x in (mean, sent.value))
    for g in gates:
        share = g if g.ndim == estimate.ndim else g[..., None]
        assert np.all((share >= 0.0) & (share < 1.0))
        assert not np.any(share[..., 0, :])
        mixed = share * estimate + (1.0 - share) * value
        subject.assert_close(mixed[..., 0, :], np.broadcast_to(value, mixed.shape)[..., 0, :], 0.0)


@drawn(description=descriptions(queries=4, keys=4))
def test_gate_rises_as_the_prior_precision_falls(
    subject: Subject, description: Description
) -> None:
    """Spec §10: g = ½ at p₀ = p, to ε, and g rises as p₀ falls."""
    problem = sample_problem(description)
    _, precision = call(afa_core.estimate, send(problem, subject), subject)
    for p in parts(precision):
        visible = fetch(p, subject) > 0.0
        half = np.where(visible, 0.5, 0.0)
        with np.errstate(invalid="ignore"):
            got = fetch(afa_core.gate(p, p), subject)
        subject.assert_close(np.where(visible, got, 0.0), half, problem.eps)
        at_low_prior, at_high_prior = (
            fetch(afa_core.gate(p, each), subject)[visible] for each in (0.1, 10.0)
        )
        assert np.all(at_low_prior > at_high_prior)


@pytest.mark.asserts
@drawn(
    description=descriptions(
        correlated=True, queries=4, keys=4, causal=True, masked=False, noise="ordinary",
        size="ordinary", decay="ordinary",
    )
)  # fmt: skip
def test_exact_keys_replace_the_value(subject: Subject, description: Description) -> None:
    """Spec §10, §14: at η² = 0 and no lag p = ∞, so that g = 1; without visible keys g = 0."""
    problem = completed(sample_problem(description))
    exact = {name: 0.0 * x for name, x in leaves(problem).items() if name.endswith("measurement")}
    problem = replace(with_leaves(problem, exact), query_times=problem.key_times)
    problem = replace(problem, mask=np.arange(4)[None, :] > 0)
    _, precision = call(afa_core.estimate, send(problem, subject), subject)
    per_mode = 1 if isinstance(problem.sde, DiagonalSDE) else 0
    for p, g in zip(
        parts(fetch(precision, subject)),
        parts(fetch(afa_core.gate(precision, 0.5), subject)),
        strict=True,
    ):
        p, g = (np.moveaxis(x, -1 - per_mode, 0) for x in (p, g))
        assert np.all(p[1:] == np.inf)
        assert np.all(g[1:] == 1.0)
        assert not np.any(g[0])
